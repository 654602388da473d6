"""The loop's stages in their order, each one call: what Dagster's assets and `oracle run` both go through.

A stage answers for a window of closed days, seen from a moment. Whether it may touch the current tables, propose or
send follows from that alone: only a window that holds the newest closed day may. An older window is history: it
recounts its days and leaves everything else as it stands.

Each stage runs in one transaction of its own, so a process that dies between two of them loses nothing. Modules are
imported where they are called: a run that only sends does not wait for the libraries that train.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.errors import Permanent
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import dirty_user_days, dirty_users
from oracle_lib.window import Week, Window

if TYPE_CHECKING:
    from oracle_lib.analyze.classifier import ClassifyReport
    from oracle_lib.analyze.counting import CountReport
    from oracle_lib.analyze.findings import Finding
    from oracle_lib.analyze.predictor import ScoreReport
    from oracle_lib.analyze.rebuilding import RebuildReport
    from oracle_lib.analyze.training import TrainReport
    from oracle_lib.analyze.value_forecast import ForecastReport
    from oracle_lib.decide.decider import ProposeReport
    from oracle_lib.decide.next_best import NextBestReport
    from oracle_lib.execute.executor import ExecuteReport
    from oracle_lib.execute.reminders import Reminder
    from oracle_lib.learn.experiments import ExperimentsReport
    from oracle_lib.learn.hypotheses import InsightsReport
    from oracle_lib.learn.outcomes import OutcomesReport
    from oracle_lib.learn.webhooks.processing import WebhooksReport
    from oracle_lib.observe.activity import ActivityReport, RollupReport
    from oracle_lib.observe.arrivals import ArrivalsReport, RetentionReport
    from oracle_lib.tell.ceo_report import Report

# How many actions one claim of a sending run takes.
SEND_AT_ONCE = 500
WEBHOOKS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Untouched:
    """A stage that had nothing to do for its window, and why."""

    reason: str


@dataclass(frozen=True)
class PendingReport:
    """What became of pending actions: expired, approved by policy, and today's reminder if one is due."""

    expired: int
    approved: int
    reminder: Reminder | None


OLDER = Untouched("The window does not hold the newest closed day: the past is recounted, nothing is decided.")


def arrivals(store: Store, window: Window) -> ArrivalsReport:
    """Count what came in, and make room for the days ahead."""
    from oracle_lib.observe import arrivals as module

    with store.transaction() as conn:
        module.make_room(conn, window.today)
        return module.arrived(conn, window.first, window.last)


def rollup(store: Store, window: Window) -> RollupReport:
    """Count every (user, day) pair that waits, whatever its day: late events come the same way."""
    from oracle_lib.observe import activity

    with store.transaction() as conn:
        return activity.rollup(conn)


def refresh(store: Store, window: Window) -> ActivityReport | Untouched:
    """Bring the sliding windows to today."""
    from oracle_lib.observe import activity

    if not window.is_current:
        return OLDER
    with store.transaction() as conn:
        return activity.refresh(conn, window.today)


def count(store: Store, window: Window, settings: Settings) -> CountReport:
    """Record how many users of each kind there were at the end of each day of the window."""
    from oracle_lib.analyze import counting

    with store.transaction() as conn:
        return counting.count(conn, window.days, settings=settings)


def classify(store: Store, window: Window, settings: Settings, *, everyone: bool = True) -> ClassifyReport | Untouched:
    """Say who each user is today."""
    from oracle_lib.analyze import classifier

    if not window.is_current:
        return OLDER
    with store.transaction() as conn:
        return classifier.classify(conn, window.today, settings=settings, everyone=everyone)


def score(store: Store, window: Window, settings: Settings, *, everyone: bool = True) -> ScoreReport | Untouched:
    """Say what each user will probably do, by the promoted models."""
    from oracle_lib.analyze import predictor

    if not window.is_current:
        return OLDER
    with store.transaction() as conn:
        return predictor.score(conn, window.today, settings=settings, everyone=everyone)


def inspect(store: Store, window: Window, settings: Settings) -> list[Finding]:
    """Ask whether the state is fit to act on and whether the models mean what they say, and keep the answers.

    An older window proposes nothing and is not asked.
    """
    from oracle_lib.analyze import findings, model_health, soundness

    if not window.is_current:
        return [findings.Finding(name, True, OLDER.reason) for name in (*soundness.QUESTIONS, *model_health.QUESTIONS)]
    with store.transaction() as conn:
        found = soundness.inspect(conn, window.newest, window.now)
        found += model_health.inspect(conn, window.today, settings)
        findings.record(conn, found, window.today, window.now)
        model_health.keep_scores(conn, window.today)
        return found


def hold_unless_sound(store: Store, window: Window, settings: Settings) -> list[Finding]:
    """Raise `Permanent` with every failed finding of the gate; what follows proposes."""
    found = inspect(store, window, settings)
    failed = [finding.detail for finding in found if not finding.passed and finding.target is None]
    if failed:
        raise Permanent("Nothing is proposed: " + " ".join(failed))
    return found


def propose_if_sound(store: Store, window: Window, triggers: Collection[str]) -> ProposeReport | Untouched:
    """Propose for whom waits, unless the gate is shut: then they go on waiting. Asks it where it was not open today."""
    from oracle_lib.analyze import findings, soundness

    with store.transaction() as conn:
        if not findings.gate_is_open(conn, window.today):
            found = soundness.inspect(conn, window.newest, window.now)
            findings.record(conn, found, window.today, window.now)
            if failed := [finding.detail for finding in found if not finding.passed]:
                return Untouched("Nothing is proposed: " + " ".join(failed))
    return propose(store, window, triggers=triggers, everyone=False)


def propose(
    store: Store, window: Window, *, triggers: Collection[str] = ("time_based", "segment_based"), everyone: bool = True
) -> ProposeReport | Untouched:
    """Turn rules that fire into pending actions."""
    from oracle_lib.decide import decider

    if not window.is_current:
        return OLDER
    with store.transaction() as conn:
        return decider.propose(conn, as_of=window.today, now=window.now, triggers=triggers, everyone=everyone)


def propose_next_best(store: Store, window: Window, settings: Settings) -> NextBestReport | Untouched:
    """Propose what is best for each user for whom nothing waits, if the installation wants that."""
    from oracle_lib.decide import next_best

    if not window.is_current:
        return OLDER
    if not settings.propose_next_best:
        return Untouched("Next best actions are not proposed (ORACLE_PROPOSE_NEXT_BEST).")
    with store.transaction() as conn:
        return next_best.propose(conn, as_of=window.today, now=window.now)


def deliver(store: Store, settings: Settings, owner: str) -> ExecuteReport:
    """Send what is approved and due. `owner` names the process in the lease."""
    from oracle_lib.execute import executor

    protect_reputation(store)
    return executor.run_due(store, settings=settings, owner=owner, limit=SEND_AT_ONCE)


def protect_reputation(store: Store) -> list[str]:
    """Pause rules and stop channels whose messages bounce or are complained about; return what and why."""
    from oracle_lib.execute import reputation

    with store.transaction() as conn:
        return reputation.protect(conn)


def attribute(store: Store, now: datetime, settings: Settings) -> OutcomesReport:
    """Record what came of what was sent."""
    from oracle_lib.learn import outcomes

    with store.transaction() as conn:
        return outcomes.attribute(conn, now=now, settings=settings)


def measure(store: Store, now: datetime, settings: Settings) -> ExperimentsReport:
    """Record what the users of each arm did, and say whether rules help."""
    from oracle_lib.learn import experiments

    with store.transaction() as conn:
        return experiments.measure(conn, now=now, settings=settings)


def retain(store: Store, window: Window, settings: Settings) -> RetentionReport | Untouched:
    """Drop and seal the days of raw events that are past retention, and forget what old webhooks said."""
    from oracle_lib.learn.webhooks import inbox
    from oracle_lib.observe import arrivals as module

    if not window.is_current:
        return OLDER
    with store.transaction() as conn:
        inbox.forget(conn, window.now, settings.webhook_retention_days)
        return module.retain(conn, window.today, settings.retention_days)


def compare_with_rebuild(store: Store, now: datetime, settings: Settings) -> RebuildReport:
    """Say whether the incremental tables are what a rebuild would give."""
    from oracle_lib.analyze import rebuilding

    with store.transaction() as conn:
        return rebuilding.compare(conn, now.date(), settings=settings)


def train(store: Store, week: Week, settings: Settings) -> Sequence[TrainReport] | Untouched:
    """Train, backtest and promote; an older week trains nothing: what it would promote is already outdated.

    When a model is promoted everybody is queued to be scored by it, and `react` does so within seconds.
    """
    from oracle_lib.analyze import training
    from oracle_lib.storage import queue

    if not week.is_current:
        return OLDER
    with store.transaction() as conn:
        trained = training.train(conn, clock.newest_closed_day(week.now), settings=settings)
        if any(one.promoted for one in trained):
            queue.add_everyone(conn, "predictions")
        return trained


def forecast_value(store: Store, week: Week, settings: Settings) -> ForecastReport | Untouched:
    """Forecast what each customer will pay, if the forecast is earned; an older week would forecast the past."""
    from oracle_lib.analyze import value_forecast

    if not week.is_current:
        return OLDER
    with store.transaction() as conn:
        return value_forecast.forecast(conn, clock.newest_closed_day(week.now), settings=settings)


def observe_week(store: Store, week: Week) -> InsightsReport:
    """Keep what the week taught: observations, hypotheses and recommendations with their evidence."""
    from oracle_lib.learn import hypotheses

    with store.transaction() as conn:
        return hypotheses.observe_week(conn, week.first, week.now)


def report(store: Store, week: Week, settings: Settings) -> Report:
    """Write the week's report."""
    from oracle_lib.tell import ceo_report

    with store.transaction() as conn:
        return ceo_report.make(conn, week.first, week.now, settings=settings)


def anything_waits(store: Store, now: datetime) -> bool:
    """Say whether events, users between two stages, or a new day wait to be worked on.

    Users who wait for their rules behind a gate that is shut do not count: only new events can open it.
    """
    from oracle_lib.analyze import findings
    from oracle_lib.storage import queue

    with store.transaction() as conn:
        users = sa.select(dirty_users.c.stage)
        if findings.gate_is_open(conn) is False:
            users = users.where(dirty_users.c.stage != "rules")
        if conn.scalar(sa.select(sa.or_(sa.exists(sa.select(dirty_user_days.c.day)), sa.exists(users)))):
            return True
        stands = queue.stands_for(conn, "predictions")
        return stands is not None and stands <= clock.newest_closed_day(now)


def anything_due(store: Store) -> int:
    """Return how many actions are approved and due."""
    from oracle_lib.execute import executor

    with store.transaction() as conn:
        return executor.waiting(conn)


def tend_pending(store: Store, now: datetime, settings: Settings) -> PendingReport:
    """Expire what waited too long, approve what a policy may, and say whether people should be reminded."""
    from oracle_lib.execute import policies, reminders

    with store.transaction() as conn:
        return PendingReport(
            expired=policies.expire(conn, now),
            approved=policies.approve_by_policy(conn, now),
            reminder=reminders.due(conn, now, timedelta(hours=settings.remind_hours)),
        )


def work_in_webhooks(store: Store, now: datetime, settings: Settings) -> WebhooksReport:
    """Work in what providers told, some thousand events a transaction, until nothing is due."""
    from oracle_lib.learn.webhooks import processing, replies
    from oracle_lib.learn.webhooks.received_letters import ReceivedLetters

    with ReceivedLetters(settings) as headers:
        replies.look_up(store, headers, now)
    report = processing.WebhooksReport()
    while True:
        with store.transaction() as conn:
            done = processing.process(conn, now, settings=settings, limit=WEBHOOKS_AT_ONCE)
        report += done
        if done.looked_at < WEBHOOKS_AT_ONCE:
            return report


Step = tuple[str, Callable[[], object]]


def daily(store: Store, window: Window, settings: Settings, owner: str) -> list[Step]:
    """Return the daily run as named steps, in the order of Dagster's job `daily`."""
    return [
        ("events", lambda: arrivals(store, window)),
        ("user_days", lambda: rollup(store, window)),
        ("activity", lambda: refresh(store, window)),
        ("segments", lambda: classify(store, window, settings)),
        ("segment_counts", lambda: count(store, window, settings)),
        ("predictions", lambda: score(store, window, settings)),
        ("checks", lambda: hold_unless_sound(store, window, settings)),
        ("actions", lambda: propose(store, window)),
        ("next_best", lambda: propose_next_best(store, window, settings)),
        ("deliveries", lambda: deliver(store, settings, owner) if window.is_current else OLDER),
        ("outcomes", lambda: attribute(store, window.now, settings) if window.is_current else OLDER),
        ("experiments", lambda: measure(store, window.now, settings) if window.is_current else OLDER),
        ("retention", lambda: retain(store, window, settings)),
    ]


def weekly(store: Store, week: Week, settings: Settings) -> list[Step]:
    """Return the weekly run as named steps, in the order of Dagster's job `weekly`."""
    return [
        ("equals_rebuild", lambda: compare_with_rebuild(store, week.now, settings)),
        ("models", lambda: train(store, week, settings)),
        ("value_forecasts", lambda: forecast_value(store, week, settings)),
        ("insights", lambda: observe_week(store, week)),
        ("ceo_report", lambda: report(store, week, settings)),
    ]


def react(store: Store, now: datetime, settings: Settings) -> list[Step]:
    """Return what is done about fresh events: the same stages, for the users they touch, as they stand today.

    What a person just did asks for an answer within seconds; rules that look at time wait for the daily run. The first
    of a day looks at everybody: whoever fell silent long enough ago is another user since midnight.
    """
    newest = clock.newest_closed_day(now)
    window = Window(first=newest, last=newest, now=now)
    triggers = ("event_based", "segment_based")
    return [
        ("user_days", lambda: rollup(store, window)),
        ("activity", lambda: refresh(store, window)),
        ("segments", lambda: classify(store, window, settings, everyone=False)),
        ("predictions", lambda: score(store, window, settings, everyone=False)),
        ("actions", lambda: propose_if_sound(store, window, triggers)),
        ("outcomes", lambda: attribute(store, now, settings)),
    ]
