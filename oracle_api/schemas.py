"""What comes over the wire and goes back: camelCase, the specification's words, nothing that is not named.

A field that is not named here is refused on the way in and never leaves on the way out. Percentages are integers
0-100, money is a string of a decimal number, times are ISO 8601 with their zone.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StringConstraints,
)
from pydantic.alias_generators import to_camel


def _storable(text: str) -> str:
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("holds a NUL or half a surrogate pair; remove it")
    return text


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


def _percent(value: object) -> object:
    return round(value * 100) if isinstance(value, float) else value


Text = Annotated[str, AfterValidator(_storable)]
Id = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Percent = Annotated[int, BeforeValidator(_percent)]
Limit = Annotated[int, Field(ge=1, le=200)]
EngagementLevel = Literal["new", "active", "moderate", "dormant", "lost"]
Lifecycle = Literal["lead", "new", "active", "engaged", "graduate", "alumni"]
ChurnLevel = Literal["low", "medium", "high", "critical"]


class Incoming(BaseModel):
    """A body we read: what it does not name is refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, validate_by_name=False, validate_by_alias=True)


class Outgoing(BaseModel):
    """A body we write, read off one of the library's own objects."""

    model_config = ConfigDict(
        alias_generator=to_camel, from_attributes=True, validate_by_name=True, validate_by_alias=True
    )


class Tracked(Outgoing):
    """What became of one event."""

    accepted: bool
    duplicate: bool


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
    """A page of segments by user id; `nextCursor` is null on the last one."""

    segments: list[SegmentOut]
    next_cursor: str | None


class Alive(Outgoing):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(Outgoing):
    """The service can work; ages are in seconds, null where nothing waits."""

    status: Literal["ok"] = "ok"
    migration: str | None
    oldest_dirty_seconds: int | None
    oldest_approved_seconds: int | None


class ActionIn(Incoming):
    """An action to propose; it waits for approval like any other."""

    user_id: Id
    action_type: Literal["email", "dm", "push", "post", "alert"]
    content: Text
    subject: Text | None = None
    template: Text | None = None
    priority: int = Field(5, ge=1, le=10)
    scheduled_at: Moment | None = None
    triggered_by: Id = "manual"


class MoveIn(Incoming):
    """An answer to an action; `version` and `contentHash` name what was seen, where somebody saw it."""

    status: Literal["approved", "rejected", "executed", "cancelled", "pending"]
    version: int | None = Field(None, ge=1)
    content_hash: Text | None = None
    reason: Text | None = None


class OutcomeOut(Outgoing):
    """What came of an action, as far as it is known."""

    opened: bool
    clicked: bool
    replied: bool
    converted: bool


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
    metadata: Mapping[str, JsonValue] | None
    content_hash: str
    version: int
    message_class: str
    triggered_by: str
    trigger_data: Mapping[str, JsonValue] | None
    rule_id: UUID | None
    rule_version: int | None
    approved_by: str | None
    approved_at: datetime | None
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


class ExecuteIn(Incoming):
    """What to send: one approved action; none named: all that is due."""

    action_id: UUID | None = None


class ExecuteReportOut(Outgoing):
    """What became of the actions that were taken."""

    executed: int
    skipped: int
    failed: int
    retried: int
    unknown: int
    dropped: int


class ExecutedOut(Outgoing):
    """`action` as it stands after sending it, or `report` of all that was due."""

    action: ActionOut | None
    report: ExecuteReportOut | None


class RunRequestIn(Incoming):
    """What to run: `daily` over days (both ends included), `weekly` for a week, or what is there now."""

    job: Literal["daily", "weekly", "react", "execute"]
    first_day: date | None = None
    last_day: date | None = None
    week: date | None = None


class RunRequestOut(Outgoing):
    """One request and the run that answers it."""

    id: UUID
    job: str
    parameters: Mapping[str, JsonValue]
    requested_by: str
    status: str
    run_id: str | None
    detail: str | None
    created_at: datetime
    updated_at: datetime


class RunRequestsOut(Outgoing):
    """Requests, newest first."""

    run_requests: list[RunRequestOut]


class WeekIn(Incoming):
    """A week, named by its Sunday; none: the last whole one."""

    week: date | None = None


class ReportOut(Outgoing):
    """The report of one week; each figure carries its unit, its change and its definition."""

    week: date
    currency: str
    figures: list[dict[str, JsonValue]]
    by_type: list[dict[str, JsonValue]]
    by_rule: list[dict[str, JsonValue]]
    markdown: str
    made_at: datetime


class RuleOut(Outgoing):
    """One rule at its newest version."""

    id: UUID
    version: int
    name: str
    description: str | None
    trigger: str
    conditions: JsonValue
    action_type: str
    action_data: JsonValue
    is_active: bool
    priority: int
    cooldown: int
    max_per_user: int | None
    expires_at: datetime | None
    approval: str
    message_class: str
    goal: JsonValue
    times_triggered: int
    last_triggered: datetime | None
    published_at: datetime
    created_at: datetime
    updated_at: datetime


class RulesOut(Outgoing):
    """Every rule, the most urgent first."""

    rules: list[RuleOut]
