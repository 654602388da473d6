"""What runs because something waits. The row is the truth: no cursor, no run key, so nothing is lost with a process.

Each sensor is a decision, a pure function, and the lines that ask for its inputs. A second run of a job is never
asked for while one is queued or running: what came in meanwhile still waits, and the next tick sees it.
"""

import time
from collections.abc import Callable, Collection
from uuid import UUID

import dagster as dg

from oracle_lib import clock, settings, stages
from oracle_pipelines import jobs, requests
from oracle_pipelines.alerts import alert
from oracle_pipelines.resources import Database

RUNNING = dg.DefaultSensorStatus.RUNNING
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

# Dagster's daemon looks every 5 s and skips a sensor whose interval is not quite over: one of 5 s would be asked every
# 10. This asks at every look.
EVERY_LOOK = 2
# A tick that would start nothing goes on looking until shortly before the daemon's next look: what comes in meanwhile
# does not wait for it. A tick that lasted longer would miss that look.
LOOKS_FOR_SECONDS = 3.5
_LOOKS_EVERY_SECONDS = 0.25

Tick = dg.RunRequest | dg.SkipReason


def on_new_events(waits: bool, busy: Collection[str]) -> Tick:
    """React when something waits; not beside a daily run, which does the same for everybody."""
    if not waits:
        return dg.SkipReason("Nothing waits to be counted.")
    if busy:
        return dg.SkipReason(f"{' and '.join(sorted(busy))} runs or is queued; what waits will be seen after it.")
    return dg.RunRequest()


def on_approved(due: int, busy: Collection[str]) -> Tick:
    """Send when something is due and nobody is sending."""
    if due == 0:
        return dg.SkipReason("Nothing is approved and due.")
    if busy:
        return dg.SkipReason(f"{due} due; the run that sends is on its way.")
    return dg.RunRequest()


def looking_on(look: Callable[[], Tick]) -> Tick:
    """Look again and again for as long as one tick may, until there is something to run."""
    until = time.monotonic() + LOOKS_FOR_SECONDS
    while isinstance(tick := look(), dg.SkipReason) and time.monotonic() < until:
        time.sleep(_LOOKS_EVERY_SECONDS)
    return tick


def busy_among(instance: dg.DagsterInstance, names: Collection[str]) -> set[str]:
    """Return which of the named jobs have a run that has not ended."""
    return {name for name in names if instance.get_runs_count(dg.RunsFilter(job_name=name, statuses=UNFINISHED)) > 0}


@dg.sensor(job=jobs.react, minimum_interval_seconds=15, default_status=RUNNING)
def new_events(context: dg.SensorEvaluationContext, database: Database) -> Tick:
    """Events that came in are answered within seconds, and at midnight everybody is looked at for the new day."""
    waits = stages.anything_waits(database.store, clock.now())
    return on_new_events(waits, busy_among(context.instance, ("daily", "react")) if waits else ())


@dg.sensor(job=jobs.execute, minimum_interval_seconds=EVERY_LOOK, default_status=RUNNING)
def approved_actions(context: dg.SensorEvaluationContext, database: Database) -> Tick:
    """What a person approved is on its way within seconds."""

    def look() -> Tick:
        due = stages.anything_due(database.store)
        return on_approved(due, busy_among(context.instance, ("execute",)) if due else ())

    return looking_on(look)


@dg.sensor(job=jobs.execute, minimum_interval_seconds=60, default_status=RUNNING)
def pending_approvals(_context: dg.SensorEvaluationContext, database: Database) -> dg.SkipReason:
    """What waits for a person: expired when its time is over, approved where a policy may, reminded of once a day."""
    for stopped in stages.protect_reputation(database.store):
        alert(settings.get(), "Messages harm the sender's name", {"stopped": stopped})
    report = stages.tend_pending(database.store, clock.now(), settings.get())
    if report.reminder is not None:
        facts = {"waiting": report.reminder.actions, "oldest since": report.reminder.oldest.isoformat()}
        alert(settings.get(), "Actions wait for approval", facts)
    return dg.SkipReason(f"Expired {report.expired}, approved by policy {report.approved}.")


@dg.sensor(job=jobs.react, minimum_interval_seconds=EVERY_LOOK, default_status=RUNNING)
def provider_webhooks(_context: dg.SensorEvaluationContext, database: Database) -> dg.SkipReason:
    """What e-mail providers told: who is written to no more, what became of messages in doubt, who opened what."""
    report = stages.work_in_webhooks(database.store, clock.now(), settings.get())
    return dg.SkipReason(
        f"Events worked in {report.worked_in}, waiting {report.waiting}; actions settled {report.settled},"
        f" users suppressed {report.suppressed}."
    )


@dg.sensor(jobs=jobs.JOBS, minimum_interval_seconds=EVERY_LOOK, default_status=RUNNING)
def run_requests(context: dg.SensorEvaluationContext, database: Database) -> list[dg.RunRequest] | dg.SkipReason:
    """What the panel or the API asked for is started, and what became of it is written back."""
    with database.transaction() as conn:
        asked = requests.open_requests(conn)
        launches, notes = requests.decide(asked, _runs_of(context.instance, asked), clock.now())
        requests.write(conn, notes, clock.now())
    if not launches:
        return dg.SkipReason(f"{len(asked)} requests are open, none to start.")
    return [dg.RunRequest(job_name=launch.job, tags=dict(launch.tags)) for launch in launches]


@dg.run_failure_sensor(minimum_interval_seconds=30, default_status=RUNNING)
def run_failure(context: dg.RunFailureSensorContext) -> None:
    """A run that failed is told to people."""
    facts = {"run": context.dagster_run.run_id, "why": context.failure_event.message or "unknown"}
    alert(settings.get(), f"The run of `{context.dagster_run.job_name}` failed", facts)


def _runs_of(instance: dg.DagsterInstance, asked: Collection[requests.Asked]) -> dict[UUID, requests.Started]:
    """Return the newest run of each request, in one query."""
    if not asked:
        return {}
    ids = [str(request.id) for request in asked]
    found = instance.get_runs(dg.RunsFilter(tags={requests.TAG: ids}))
    return {UUID(run.tags[requests.TAG]): requests.Started(run.run_id, run.status.value) for run in reversed(found)}


SENSORS = [new_events, approved_actions, pending_approvals, provider_webhooks, run_requests, run_failure]
