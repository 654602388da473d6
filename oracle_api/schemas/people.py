"""Events, users, courses and segments: what happened and who they are."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from pydantic import ConfigDict, Field, JsonValue, StrictBool

from oracle_api.schemas.words import Id, Incoming, Moment, Outgoing, Percent, Text


class WarningOut(Outgoing):
    """What the tracking plan has against an event that was taken all the same, by its place in the batch."""

    index: int
    field: str
    detail: str


class Tracked(Outgoing):
    """What became of one event."""

    accepted: bool
    duplicate: bool
    warnings: list[WarningOut] = []


class RejectedOut(Outgoing):
    """One event of a batch that was refused, by its place in the batch."""

    index: int
    reason: str = Field(validation_alias="code")
    field: str | None
    detail: str


class BatchOut(Outgoing):
    """What became of a batch: accepted + duplicate + rejected = sent."""

    accepted: int
    duplicate: int
    rejected: list[RejectedOut]
    warnings: list[WarningOut] = []


class SegmentAnswer(Outgoing):
    """What a stock client looks for, and for people what was refused or warned of, where there is anything."""

    success: bool
    rejected: list[RejectedOut] | None = None
    warnings: list[WarningOut] | None = None


class PlanEntryIn(Incoming):
    """What an event's metadata should look like: a JSON schema (draft 2020-12), and whether to warn or to reject."""

    json_schema: dict[str, JsonValue] = Field(alias="schema")
    mode: Literal["warn", "reject"] = "warn"


class PlanEntryOut(Outgoing):
    """What is agreed on for one event name."""

    event: str
    json_schema: dict[str, JsonValue] = Field(validation_alias="schema", serialization_alias="schema")
    mode: Literal["warn", "reject"]
    updated_at: datetime
    updated_by: str


class PlanOut(Outgoing):
    """The tracking plan, by event name."""

    events: list[PlanEntryOut]


class RejectedEventOut(Outgoing):
    """One refused body and what would mend it."""

    id: int
    received_at: datetime
    source: str
    reason: str
    field: str | None
    detail: str
    raw: str
    replayed_at: datetime | None


class RejectedEventsOut(Outgoing):
    """Refused bodies, newest first; `byReason` counts every one of the source."""

    rejected: list[RejectedEventOut]
    by_reason: Mapping[str, int]


class EventOut(Outgoing):
    """One stored event."""

    id: UUID
    message_id: str
    user_id: str
    event: str
    metadata: Mapping[str, JsonValue] | None
    source: str | None
    session_id: str | None
    created_at: datetime
    received_at: datetime


class EventsOut(Outgoing):
    """Events, newest first."""

    events: list[EventOut]


class ProfileIn(Incoming):
    """What to change of a user; what is not named stays, null forgets."""

    email: Text | None = None
    first_name: Text | None = None
    last_name: Text | None = None
    time_zone: Text | None = None
    locale: Text | None = None
    joined_at: Moment | None = None
    is_test: StrictBool = False
    traits: dict[Text, JsonValue] = Field(default_factory=dict)
    consent: dict[Text, StrictBool | None] = Field(default_factory=dict)


class ProfileOut(Outgoing):
    """One user as known now."""

    id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    time_zone: str | None
    locale: str | None
    joined_at: datetime | None
    is_test: bool
    traits: Mapping[str, JsonValue]
    consent: Mapping[str, bool]
    created_at: datetime
    updated_at: datetime


class LessonWire(Incoming):
    """One lesson of a course."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True)

    id: Id
    title: Text
    module_id: Id | None = None


class CourseIn(Incoming):
    """A course as a whole: lessons that are not named are gone from it."""

    title: Text
    price: Decimal | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    lessons: list[LessonWire] = Field(default_factory=list)


class CourseOut(Outgoing):
    """A course with its lessons in order."""

    id: str
    title: str
    price: Decimal | None
    starts_on: date | None
    ends_on: date | None
    lessons: list[LessonWire]


class ValueForecastOut(Outgoing):
    """What a customer is expected to pay in the `horizonDays` after `asOf`, and the 80 % interval."""

    expected: Decimal
    lower: Decimal
    upper: Decimal
    horizon_days: int
    as_of: date


class SegmentOut(Outgoing):
    """Where one user stands."""

    id: UUID
    user_id: str
    engagement_level: str
    engagement_score: int
    churn_risk: Percent
    churn_level: str | None
    churn_reason: str | None
    lifecycle: str
    persona: str | None
    learning_style: str | None
    ltv: Decimal | None
    ltv_forecast: ValueForecastOut | None
    value_segment: str | None
    completion_prob: Percent | None
    upgrade_prob: Percent | None
    referral_prob: Percent | None
    best_contact_time: str | None
    best_channel: str | None
    progress: int | None
    course_id: str | None
    last_active_on: date | None
    last_analyzed: datetime | None
    created_at: datetime
    updated_at: datetime


class SegmentsOut(Outgoing):
    """A page of segments by user id; `nextCursor` is null on the last one, `total` counts those of all pages."""

    segments: list[SegmentOut]
    next_cursor: str | None = Field(validation_alias="next_after")
    total: int
