"""Actions: what is proposed, what people answer, and what led to it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from oracle_api.schemas.words import Id, Incoming, Moment, Outgoing, Text
from oracle_lib.execute.answers import Word
from oracle_lib.execute.approvals import Settled


class ActionIn(Incoming):
    """An action to propose; it waits for approval like any other."""

    user_id: Id
    action_type: Literal["email", "dm", "push", "post", "alert"]
    content: Text
    subject: Text | None = None
    preheader: Text | None = None
    template: Text | None = None
    topic: Text | None = None
    address: Text | None = None
    priority: int = Field(5, ge=1, le=10)
    scheduled_at: Moment | None = None
    triggered_by: Id = "manual"


class AnswerIn(Incoming):
    """What is answered; an `undoable` approval waits for `ORACLE_UNDO_SECONDS` in case it is taken back."""

    status: Word
    reason: Text | None = None
    undoable: bool = False


class SeenIn(Incoming):
    """What was seen, where somebody saw it."""

    version: int | None = Field(None, ge=1)
    content_hash: Text | None = None


class MoveIn(AnswerIn, SeenIn):
    """An answer to one action."""


class AnsweredIn(SeenIn):
    """One of many actions that get the same answer."""

    id: UUID


Items = Annotated[list[AnsweredIn], Field(min_length=1, max_length=500)]


class AnswersIn(AnswerIn):
    """One answer to many actions."""

    items: Items


class SettlementIn(Incoming):
    """What became of actions nobody knows of, and how somebody knows; trying again says that it may arrive twice."""

    became: Settled
    note: Text
    may_arrive_twice: bool = False


class SettledIn(SettlementIn, SeenIn):
    """What became of one action."""


class SettlementsIn(SettlementIn):
    """What became of many actions."""

    items: Items


class AnsweredOut(Outgoing):
    """What the answer made of one action: `current` is how it stands now, null where there is none."""

    id: UUID
    result: Literal["moved", "conflict", "not_found"]
    message: str | None
    current: dict[str, JsonValue] | None


class AnswersOut(Outgoing):
    """One result an action, in the order asked for, and how many moved."""

    moved: int
    results: list[AnsweredOut]


class WordsIn(SeenIn):
    """Other words for a pending action."""

    subject: Text | None = None
    preheader: Text | None = None
    content: Text


class VersionOut(Outgoing):
    """The words of one version and who wrote them."""

    version: int
    subject: str | None
    content: str
    preheader: str | None
    content_hash: str
    written_by: str
    written_at: datetime


class VersionsOut(Outgoing):
    """Every version of an action's words, the newest first."""

    versions: list[VersionOut]


class PreviewOut(Outgoing):
    """What the recipient would get; `html` and `preheader` are of e-mails. `problem`: why nothing could be made."""

    action_type: str
    sender: str
    to: str | None
    subject: str | None
    preheader: str | None
    text: str | None
    html: str | None
    problem: str | None


class OutcomeOut(Outgoing):
    """What came of an action: null where it is not measured, so that nobody would know."""

    opened: bool | None
    clicked: bool | None
    replied: bool | None
    converted: bool | None
    bounced: bool | None
    complained: bool | None


class ActionOut(Outgoing):
    """One action as it stands."""

    id: UUID
    user_id: str
    action_type: str
    status: str
    priority: int
    template: str | None
    subject: str | None
    content: str
    preheader: str | None
    locale: str | None
    address: str | None
    metadata: Mapping[str, JsonValue] | None
    content_hash: str
    version: int
    language: str | None
    arm: str | None
    group_edit_id: UUID | None
    message_class: str
    topic: str | None
    triggered_by: str
    trigger_data: Mapping[str, JsonValue] | None
    rule_id: UUID | None
    rule_version: int | None
    approved_by: str | None
    approved_at: datetime | None
    undo_until: datetime | None
    scheduled_at: datetime | None
    expires_at: datetime | None
    executed_at: datetime | None
    attempts: int
    channel: str | None
    reason: str | None
    outcome: OutcomeOut
    created_at: datetime
    updated_at: datetime


class ActionsOut(Outgoing):
    """A page of actions, newest first; `nextCursor` is null on the last one."""

    actions: list[ActionOut]
    next_cursor: str | None


class StepOut(Outgoing):
    """One link of the chain: what happened, when, and the row that says so."""

    kind: str
    at: datetime | None
    title: str
    detail: str
    reference: str


class LineageOut(Outgoing):
    """An action's chain: event, segment, rule, proposal, approval, delivery, outcome."""

    action_id: UUID
    user_id: str
    status: str
    cause: str | None
    steps: list[StepOut]
