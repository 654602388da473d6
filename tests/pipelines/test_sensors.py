"""What sensors decide: pure functions first, then each sensor on a real database."""

import time
from datetime import date, datetime, timedelta
from uuid import UUID

import dagster as dg
import pytest
import sqlalchemy as sa
import time_machine
from dagster._daemon.sensor import MIN_INTERVAL_LOOP_TIME
from sqlalchemy.exc import OperationalError

from oracle_lib.errors import Conflict, Invalid, Transient
from oracle_lib.execute import reminders
from oracle_lib.learn.webhooks import inbox
from oracle_lib.learn.webhooks.inbox import Told
from oracle_lib.observe.ingest import mark_dirty
from oracle_lib.storage import tables
from oracle_lib.storage.engine import Store
from oracle_pipelines import failures, requests, schedules, sensors
from oracle_pipelines.resources import Database

ONE = UUID("019588f0-0000-7000-8000-000000000001")
NOW_DAY = date(2026, 3, 3)


def asked(job: str, **parameters: object) -> requests.Asked:
    return requests.Asked(ONE, job, parameters, "requested", None)


def test_nothing_dirty_asks_for_nothing() -> None:
    assert isinstance(sensors.on_new_events(False, ()), dg.SkipReason)


def test_dirt_asks_for_one_run_without_a_run_key() -> None:
    tick = sensors.on_new_events(True, ())
    assert isinstance(tick, dg.RunRequest)
    assert tick.run_key is None


@pytest.mark.parametrize("busy", [{"react"}, {"daily"}, {"daily", "react"}])
def test_no_second_reaction_beside_one_that_runs_or_beside_a_daily_run(busy: set[str]) -> None:
    assert isinstance(sensors.on_new_events(True, busy), dg.SkipReason)


def test_what_is_due_is_sent_by_one_run_at_a_time() -> None:
    assert isinstance(sensors.on_approved(0, ()), dg.SkipReason)
    assert isinstance(sensors.on_approved(3, {"execute"}), dg.SkipReason)
    assert isinstance(sensors.on_approved(3, ()), dg.RunRequest)


def test_a_tick_goes_on_looking_until_there_is_something_to_run_but_not_for_ever() -> None:
    answers: list[sensors.Tick] = [dg.SkipReason("not yet"), dg.RunRequest(), dg.SkipReason("too late")]
    assert isinstance(sensors.looking_on(lambda: answers.pop(0)), dg.RunRequest)
    assert len(answers) == 1
    started = time.monotonic()
    assert isinstance(sensors.looking_on(lambda: dg.SkipReason("nothing")), dg.SkipReason)
    assert sensors.LOOKS_FOR_SECONDS <= time.monotonic() - started < MIN_INTERVAL_LOOP_TIME


def test_a_request_for_days_is_one_run_over_their_range(now: datetime) -> None:
    launches, notes = requests.decide([asked("daily", firstDay="2013-02-01", lastDay="2014-10-31")], {}, now)
    assert notes == []
    assert launches[0].tags["dagster/asset_partition_range_start"] == "2013-02-01"
    assert launches[0].tags["dagster/asset_partition_range_end"] == "2014-10-31"
    assert launches[0].tags[requests.TAG] == str(ONE)


def test_a_request_without_days_means_the_newest_closed_one(now: datetime) -> None:
    launches, _ = requests.decide([asked("daily")], {}, now)
    assert launches[0].tags["dagster/asset_partition_range_start"] == NOW_DAY.isoformat()


@pytest.mark.parametrize(
    ("job", "parameters"),
    [
        ("nightly", {}),
        ("daily", {"firstDay": "yesterday"}),
        ("daily", {"firstDay": "2026-03-03", "lastDay": "2026-03-01"}),
        ("daily", {"firstDay": "2026-03-04"}),
        ("weekly", {"week": "2026-02-24"}),
        ("weekly", {"week": "2026-03-01"}),
    ],
    ids=["unknown job", "no day", "backwards", "today", "no Sunday", "a week that is not over"],
)
def test_a_request_no_run_could_answer_fails_with_the_reason(
    job: str, parameters: dict[str, object], now: datetime
) -> None:
    launches, notes = requests.decide([asked(job, **parameters)], {}, now)
    assert launches == []
    assert notes[0].status == "failed"
    assert notes[0].detail


def test_a_request_whose_run_exists_starts_no_second_one(now: datetime) -> None:
    launches, notes = requests.decide([asked("react")], {ONE: requests.Started("run-1", "STARTED")}, now)
    assert launches == []
    assert [(note.status, note.run_id) for note in notes] == [("started", "run-1")]


@pytest.mark.parametrize(("run", "row"), [("SUCCESS", "succeeded"), ("FAILURE", "failed"), ("CANCELED", "failed")])
def test_the_end_of_a_run_is_written_back(run: str, row: str, now: datetime) -> None:
    _, notes = requests.decide([asked("react")], {ONE: requests.Started("run-1", run)}, now)
    assert notes[0].status == row


def test_the_sensor_starts_a_request_once_and_follows_its_run(store: Store) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(tables.run_requests).values(id=ONE, job="react", requested_by="test"))
    with dg.DagsterInstance.ephemeral() as instance:
        found = _tick(sensors.run_requests, instance, store)
        assert isinstance(found, list)
        assert [(run.job_name, run.tags[requests.TAG]) for run in found] == [("react", str(ONE))]
        run = instance.create_run_for_job(_tagged_job(), tags=found[0].tags, status=dg.DagsterRunStatus.SUCCESS)
        assert isinstance(_tick(sensors.run_requests, instance, store), dg.SkipReason)
    with store.transaction() as conn:
        row = conn.execute(sa.select(tables.run_requests)).one()
    assert (row.status, row.run_id) == ("succeeded", run.run_id)


def test_new_events_sees_what_waits(store: Store) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(_tick(sensors.new_events, instance, store), dg.SkipReason)
        with store.transaction() as conn:
            mark_dirty(conn, [("u1", NOW_DAY)])
        assert isinstance(_tick(sensors.new_events, instance, store), dg.RunRequest)
        instance.create_run_for_job(_tagged_job("react"), status=dg.DagsterRunStatus.STARTED)
        assert isinstance(_tick(sensors.new_events, instance, store), dg.SkipReason)


def test_approved_actions_and_pending_approvals_run_on_an_empty_database(store: Store) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(_tick(sensors.approved_actions, instance, store), dg.SkipReason)
        assert isinstance(_tick(sensors.pending_approvals, instance, store), dg.SkipReason)


def test_what_providers_told_is_worked_in_by_the_tick_itself(store: Store, now: datetime) -> None:
    with store.transaction() as conn:
        inbox.keep(conn, "resend", [Told("e1", b"{}")], now)
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = [_tick(sensors.provider_webhooks, instance, store) for _ in range(2)]
    said = [tick.skip_message for tick in ticks if isinstance(tick, dg.SkipReason)]
    assert [text and text.split(",")[0] for text in said] == ["Events worked in 1", "Events worked in 0"]


def test_people_are_reminded_once_a_day(store: Store, now: datetime) -> None:
    old = now - timedelta(days=2)
    with store.transaction() as conn:
        conn.execute(
            sa.insert(tables.actions).values(
                user_id="u1", action_type="email", content="x", content_hash="h", triggered_by="manual", created_at=old
            )
        )

    def remind(at: datetime) -> reminders.Reminder | None:
        with store.transaction() as conn:
            return reminders.due(conn, at, timedelta(hours=24))

    assert remind(now) == reminders.Reminder(actions=1, oldest=old)
    assert remind(now + timedelta(hours=1)) is None
    assert remind(now + timedelta(days=1)) is not None


def test_the_daily_schedule_asks_for_yesterday_and_every_missed_day(store: Store) -> None:
    with store.transaction() as conn:
        row = {"day": date(2026, 2, 27), "field": "lifecycle", "value": "lead", "users": 1}
        conn.execute(sa.insert(tables.segment_counts).values(row))
    at = datetime.fromisoformat("2026-03-04T02:00:00+00:00")
    context = dg.build_schedule_context(scheduled_execution_time=at, resources={"database": Database(url=store.url)})
    asked_for = schedules.daily_at_two(context)
    assert isinstance(asked_for, dg.RunRequest)
    assert asked_for.tags["dagster/asset_partition_range_start"] == "2026-02-28"
    assert asked_for.tags["dagster/asset_partition_range_end"] == "2026-03-03"


def test_the_weekly_schedule_asks_for_the_week_that_just_ended() -> None:
    at = datetime.fromisoformat("2026-03-08T08:00:00+00:00")
    asked_for = schedules.weekly_on_sunday(dg.build_schedule_context(scheduled_execution_time=at))
    assert isinstance(asked_for, dg.RunRequest)
    assert asked_for.partition_key == "2026-03-01"


def test_only_what_may_work_later_is_tried_again() -> None:
    assert isinstance(failures.answer_to(Transient("later")), dg.RetryRequested)
    assert isinstance(failures.answer_to(OperationalError("SELECT 1", {}, Exception("gone"))), dg.RetryRequested)
    for error in (Invalid("wrong"), Conflict("moved on")):
        answer = failures.answer_to(error)
        assert isinstance(answer, dg.Failure)
        assert not answer.allow_retries
    assert failures.answer_to(ValueError("a defect")) is None


def _tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance, store: Store) -> object:
    context = dg.build_sensor_context(instance=instance, resources={"database": Database(url=store.url)})
    with time_machine.travel(datetime.fromisoformat("2026-03-04T12:00:00+00:00"), tick=True):
        return sensor(context)


def _tagged_job(name: str = "react") -> dg.JobDefinition:
    @dg.op
    def nothing() -> None:
        """Do nothing."""

    @dg.job(name=name)
    def made() -> None:
        nothing()

    return made
