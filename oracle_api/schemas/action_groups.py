"""Groups: what waits, by the template that it comes from."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from oracle_api.schemas.actions import ActionOut
from oracle_api.schemas.words import Id, Incoming, Outgoing, Text


class GroupKeyOut(Outgoing):
    """What names a group; `groupEditId` null: the words are the rule's own."""

    rule_id: UUID
    rule_version: int
    arm: str | None
    language: str | None
    group_edit_id: UUID | None


class GroupOut(Outgoing):
    """Some pending actions of one template, and the most urgent of them."""

    key: GroupKeyOut
    rule_name: str
    action_type: str
    subject: str | None
    content: str
    preheader: str | None
    count: int
    oldest: datetime
    first_expires_at: datetime | None
    sample: ActionOut


class GroupsOut(Outgoing):
    """Every group, the one with the most urgent action first."""

    groups: list[GroupOut]


class GroupKeyIn(Incoming):
    """The group that is meant, as it was listed."""

    rule_id: UUID
    rule_version: int = Field(ge=1)
    arm: Id | None = None
    language: Id | None = None
    group_edit_id: UUID | None = None


class GroupEditIn(Incoming):
    """Another template for a group."""

    key: GroupKeyIn
    subject: Text | None = None
    preheader: Text | None = None
    content: Text


class RecipientOut(Outgoing):
    """What the edit made of one action; `unfit` could not be filled in and keeps its words."""

    id: UUID
    user_id: str
    result: Literal["edited", "unfit"]
    version: int
    content_hash: str
    detail: str | None


class GroupEditOut(Outgoing):
    """The edit and what it made of each action of the group."""

    id: UUID
    recipients: list[RecipientOut]
