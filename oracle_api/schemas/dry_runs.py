"""Dry runs of a rule over past days: what is asked, and what would have been."""

from collections.abc import Mapping
from datetime import date
from typing import Literal
from uuid import UUID

from pydantic import Field, JsonValue

from oracle_api.schemas.words import Day, Incoming, Outgoing


class DryRunIn(Incoming):
    """The days, both included, and a draft of the rule's next version; none: the live one. Names `samples` a day."""

    first: Day = Field(alias="from")
    last: Day = Field(alias="to")
    definition: dict[str, JsonValue] | None = None
    samples: int = Field(5, ge=0, le=50)


class SampleOut(Outgoing):
    """A user who would have been proposed something, the cause, and what is told of it."""

    user_id: str
    cause: str
    fired: Mapping[str, JsonValue]


class DryDayOut(Outgoing):
    """One day: proposals, refusals by reason, and users who got an action of another rule that day, by its name."""

    day: date
    proposed: int
    held_back: Mapping[str, int]
    overlap: Mapping[str, int]
    samples: list[SampleOut]


class ChangeOut(Outgoing):
    """Users whom only the draft, only the live version, or both would have reached."""

    only_draft: int
    only_live: int
    both: int
    draft_samples: list[str]
    live_samples: list[str]


class DifferenceOut(Outgoing):
    """A proposal that only one of both made, and the message ids of the user's events that came too late."""

    day: date
    user_id: str
    cause: str
    made_by: Literal["dry run", "production"]
    late_events: list[str]


class ComparedOut(Outgoing):
    """The dry run held against what was proposed on those days."""

    alike: int
    only_dry: int
    only_proposed: int
    differences: list[DifferenceOut]


class DryRunOut(Outgoing):
    """What a rule would have done. `version` is null for a draft, which has `change`; the live one has `production`."""

    rule_id: UUID
    name: str
    version: int | None
    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    proposed: int
    users: int
    held_back: Mapping[str, int]
    days: list[DryDayOut]
    change: ChangeOut | None
    production: ComparedOut | None
    notes: list[str]
