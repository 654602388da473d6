"""What may be asked of segments: a filter for every field, and the counts, history and changes that answer."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field
from pydantic.alias_generators import to_camel

from oracle_api.schemas.words import (
    Asked,
    Channel,
    ChurnLevel,
    ChurnReason,
    ContactTime,
    Day,
    EngagementLevel,
    Id,
    LearningStyle,
    Lifecycle,
    Limit,
    Outgoing,
    ValueSegment,
)
from oracle_lib.analyze.audience import Filter, Range
from oracle_lib.errors import Invalid

_Word = TypeVar("_Word", bound=str)
_Value = TypeVar("_Value", int, Decimal, date)
Several = Annotated[list[_Word], Field(default_factory=list, max_length=100)]
Score = Annotated[int, Field(ge=0, le=100)]
Amount = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]


class SegmentFilter(Asked):
    """Which segments: every parameter that is given has to match; of one that is repeated, any value."""

    user_id: Several[Id]
    engagement_level: Several[EngagementLevel]
    engagement_score_min: Score | None = None
    engagement_score_max: Score | None = None
    churn_risk_min: Score | None = None
    churn_risk_max: Score | None = None
    churn_level: Several[Literal[ChurnLevel, "unknown"]]
    churn_reason: Several[Literal[ChurnReason, "unknown"]]
    lifecycle: Several[Lifecycle]
    persona: Several[Id]
    learning_style: Several[Literal[LearningStyle, "unknown"]]
    ltv_min: Amount | None = None
    ltv_max: Amount | None = None
    value_segment: Several[Literal[ValueSegment, "unknown"]]
    completion_prob_min: Score | None = None
    completion_prob_max: Score | None = None
    upgrade_prob_min: Score | None = None
    upgrade_prob_max: Score | None = None
    referral_prob_min: Score | None = None
    referral_prob_max: Score | None = None
    best_contact_time: Several[Literal[ContactTime, "unknown"]]
    best_channel: Several[Literal[Channel, "unknown"]]
    progress_min: Score | None = None
    progress_max: Score | None = None
    course_id: Several[Id]
    last_active_from: Day | None = None
    last_active_to: Day | None = None

    def chosen(self) -> Filter:
        """Return it as the library's own. Raises `Invalid` for a range whose ends are in the wrong order."""
        return Filter(
            user_id=tuple(self.user_id),
            engagement_level=tuple(self.engagement_level),
            engagement_score=_between("engagementScoreMax", self.engagement_score_min, self.engagement_score_max),
            churn_risk=_between("churnRiskMax", self.churn_risk_min, self.churn_risk_max),
            churn_level=tuple(self.churn_level),
            churn_reason=tuple(self.churn_reason),
            lifecycle=tuple(self.lifecycle),
            persona=tuple(self.persona),
            learning_style=tuple(self.learning_style),
            ltv=_between("ltvMax", self.ltv_min, self.ltv_max),
            value_segment=tuple(self.value_segment),
            completion_prob=_between("completionProbMax", self.completion_prob_min, self.completion_prob_max),
            upgrade_prob=_between("upgradeProbMax", self.upgrade_prob_min, self.upgrade_prob_max),
            referral_prob=_between("referralProbMax", self.referral_prob_min, self.referral_prob_max),
            best_contact_time=tuple(self.best_contact_time),
            best_channel=tuple(self.best_channel),
            progress=_between("progressMax", self.progress_min, self.progress_max),
            course_id=tuple(self.course_id),
            last_active_on=_between("lastActiveTo", self.last_active_from, self.last_active_to),
        )


class SegmentsAsked(SegmentFilter):
    """A page of the segments that a filter chooses."""

    limit: Limit = 50
    cursor: Id | None = None


class HistoryAsked(Asked):
    """A field whose values are counted every day, and days, both included; without any, the last 90 that are over."""

    field: Literal["engagementLevel", "lifecycle", "valueSegment"]
    first: Day | None = Field(default=None, alias="from")
    last: Day | None = Field(default=None, alias="to")


class ChangesAsked(Asked):
    """A page of a user's changes."""

    limit: Limit = 50
    cursor: Annotated[int, Field(ge=1, lt=2**63)] | None = None


Name = Annotated[str, BeforeValidator(to_camel)]


class SegmentCountsOut(Outgoing):
    """How many users a filter chooses, and of these how many by each value of each field of words."""

    total: int
    counts: Mapping[Name, Mapping[str, int]] = Field(validation_alias="by_value")


class CountedDayOut(Outgoing):
    """How many users there were at the end of a day, by value."""

    day: date
    users: Mapping[str, int]


class HistoryOut(Outgoing):
    """The counts of a field by day, the oldest first; a day that was not counted is left out."""

    field: str
    days: list[CountedDayOut]


class ChangeOut(Outgoing):
    """One change of a user's segment, the day it was worked out for, and what brought it about."""

    field: Name
    old: str | None
    new: str | None
    as_of: date
    cause: Literal["events", "profile", "course", "time", "model", "settings"] | None
    changed_at: datetime


class ChangesOut(Outgoing):
    """A page of a user's changes, the newest first; `nextCursor` is null on the last one."""

    changes: list[ChangeOut]
    next_cursor: str | None


def _between(name: str, least: _Value | None, most: _Value | None) -> Range[_Value]:
    if least is not None and most is not None and least > most:
        raise Invalid(f"`{name}` is {most}, which is less than where the range begins, {least}.", field=name)
    return Range(least, most)
