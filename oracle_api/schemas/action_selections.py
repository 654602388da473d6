"""Actions named by what they have in common."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from oracle_api.schemas.actions import AnswerIn
from oracle_api.schemas.words import Asked, EngagementLevel, Id, Incoming, Outgoing
from oracle_lib.execute.records import Filter


class FilterIn(Incoming):
    """Which actions are meant: all that is named holds of them."""

    status: Literal["pending", "approved"] = "pending"
    user_id: Id | None = None
    action_type: Literal["email", "dm", "push", "post", "alert"] | None = None
    rule_id: UUID | None = None
    message_class: Literal["marketing", "transactional"] | None = None
    engagement_level: EngagementLevel | None = None

    def read(self) -> Filter:
        """Return it as the library takes it."""
        return Filter(**{name: getattr(self, name) for name in Filter.__dataclass_fields__})


class FilterAsked(FilterIn, Asked):
    """The same as query parameters."""


class SelectedOut(Outgoing):
    """One action that is meant, as it stands."""

    id: UUID
    version: int
    content_hash: str


class SelectionOut(Outgoing):
    """All that is meant, and the digest by which exactly these are answered."""

    count: int
    digest: str
    items: list[SelectedOut]


class SelectionAnswerIn(AnswerIn):
    """One answer to all that is meant, as it was seen."""

    filter: FilterIn
    count: int = Field(ge=0)
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class SelectionAnswerOut(Outgoing):
    """How many moved: all of them."""

    moved: int
