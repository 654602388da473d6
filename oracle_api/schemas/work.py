"""Rules, sending, runs, reports and health: what is to be done, and how it stands."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import JsonValue

from oracle_api.schemas.actions import ActionOut
from oracle_api.schemas.rule_life import DraftOut
from oracle_api.schemas.words import Incoming, Outgoing, Text


class Alive(Outgoing):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(Outgoing):
    """The service can work; ages are in seconds, null where nothing waits."""

    status: Literal["ok"] = "ok"
    migration: str | None
    oldest_dirty_seconds: int | None
    oldest_approved_seconds: int | None


class WebhookAnswer(Outgoing):
    """How many of the events were not known yet."""

    kept: int


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
    """One rule at its newest version. Version 0 was never published: what it would say is null, and `draft` says it."""

    id: UUID
    version: int
    name: str
    description: str | None = None
    trigger: str | None = None
    conditions: JsonValue = None
    action_type: str | None = None
    action_data: JsonValue = None
    is_active: bool
    priority: int | None = None
    cooldown: int | None = None
    max_per_user: int | None = None
    expires_at: datetime | None = None
    approval: str | None = None
    message_class: str | None = None
    topic: str | None = None
    goal: JsonValue = None
    holdout: int | None = None
    variants: list[JsonValue] | None = None
    times_triggered: int
    last_triggered: datetime | None
    published_at: datetime | None
    published_by: str | None
    draft: DraftOut | None
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    archived_at: datetime | None
    created_at: datetime
    updated_at: datetime


class RulesOut(Outgoing):
    """Every rule that was not deleted, the most urgent first."""

    rules: list[RuleOut]


class ReachIn(Incoming):
    """A condition tree to count."""

    conditions: JsonValue


class NodeReachOut(Outgoing):
    """One part of a tree, by its place, and the users it holds for."""

    place: str
    users: int


class ReachOut(Outgoing):
    """All users, and for how many of them each part of the tree holds; the whole tree comes first."""

    users: int
    nodes: list[NodeReachOut]


class AnswerOut(Outgoing):
    """One reason, as a word and as a sentence; `at` is when it was written down, if it was."""

    code: str
    text: str
    at: datetime | None


class NodeAnswerOut(Outgoing):
    """One part of the rule's conditions, whether it holds for the user, and what was compared."""

    place: str
    condition: JsonValue
    holds: bool
    found: JsonValue


class WhyNotOut(Outgoing):
    """What stands between a user and a rule's message, what decides first."""

    user_id: str
    rule_id: UUID
    rule_name: str
    version: int
    matches: bool
    cause: str | None
    answers: list[AnswerOut]
    conditions: list[NodeAnswerOut]


class StopIn(Incoming):
    """Why sending stops."""

    reason: Text


class StopOut(Outgoing):
    """What is stopped (`all` or a channel), why, by whom and since when."""

    scope: str
    reason: str
    stopped_by: str
    at: datetime


class StopsOut(Outgoing):
    """Everything that is stopped now."""

    stops: list[StopOut]


class ChoiceOut(Outgoing):
    """A rule and what it is worth to the user: score = effect x value x urgency, the effect as a share of users."""

    rule_name: str
    action_type: str
    score: float
    effect: float
    response: float
    value: float
    urgency: float


class BestActionOut(Outgoing):
    """What to say to the user now, and why. `ruleId` null: a starter rule that is not installed."""

    type: str
    subject: str | None
    content: str
    reasoning: str
    rule_id: UUID | None
    rule_name: str


class NextBestOut(Outgoing):
    """The next best action, null where nothing fits, and all that could be said, the best first."""

    user_id: str
    next_best_action: BestActionOut | None
    choices: list[ChoiceOut]
