"""The daily and weekly jobs on a small academy, in this process, with Dagster's own executor."""

import base64
from datetime import date, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
import time_machine

from oracle_lib.clock import newest_closed_day, newest_closed_week
from oracle_lib.errors import Permanent
from oracle_lib.settings import Settings
from oracle_lib.simulate import Academy, load
from oracle_lib.stages import OLDER, daily, react
from oracle_lib.storage import tables
from oracle_lib.storage.engine import Store
from oracle_lib.window import Window, first_missed
from oracle_pipelines.definitions import defs
from oracle_pipelines.partitions import range_tags
from oracle_pipelines.resources import Database
from tests.unit.test_value_forecast import opened
from tests.world import install_starters

USERS, DAYS = 150, 60


@pytest.fixture
def academy(store: Store, now: datetime) -> Academy:
    """A small academy that has lived until now, with the starter rules."""
    made = Academy.make(USERS, DAYS, now.date(), seed=3)
    load(store, made, now=now)
    with store.transaction() as conn:
        install_starters(conn, now)
    return made


def run(job: str, store: Store, now: datetime, **how: object) -> dg.ExecuteInProcessResult:
    with time_machine.travel(now, tick=True), dg.DagsterInstance.ephemeral() as instance:
        return defs.resolve_job_def(job).execute_in_process(
            instance=instance, resources={"database": Database(url=store.url)}, raise_on_error=False, **how
        )


def count(store: Store, table: sa.Table) -> int:
    with store.transaction() as conn:
        return conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}


@pytest.mark.usefixtures("academy")
def test_the_newest_day_goes_from_events_to_pending_actions(store: Store, now: datetime) -> None:
    result = run("daily", store, now, partition_key=newest_closed_day(now).isoformat())
    assert result.success
    assert materialized(result) == {
        "events", "user_days", "activity", "segments", "predictions", "actions", "deliveries", "outcomes",
        "experiments", "retention",
    }  # fmt: skip
    assert count(store, tables.segments) == count(store, tables.users)
    assert count(store, tables.actions) > 0
    assert all(check.passed for check in result.get_asset_check_evaluations())


@pytest.mark.usefixtures("academy")
def test_an_older_day_proposes_nothing_and_leaves_the_current_tables(store: Store, now: datetime) -> None:
    day = newest_closed_day(now) - timedelta(days=3)
    result = run("daily", store, now, partition_key=day.isoformat())
    assert result.success
    assert count(store, tables.actions) == 0
    assert count(store, tables.segments) == 0
    with store.transaction() as conn:
        days = set(conn.scalars(sa.select(tables.segment_counts.c.day)))
    assert days == {day}


@pytest.mark.usefixtures("academy")
def test_many_days_are_one_run_with_small_metadata(store: Store, now: datetime) -> None:
    last = newest_closed_day(now)
    result = run("daily", store, now, tags=range_tags(last - timedelta(days=4), last))
    assert result.success
    segments = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("segments")
    ]
    assert len(segments) == 5
    assert not any("plot" in name for name in segments[0].metadata)
    with store.transaction() as conn:
        days = set(conn.scalars(sa.select(tables.segment_counts.c.day)))
    assert days == {last - timedelta(days=n) for n in range(5)}
    assert count(store, tables.actions) > 0


@pytest.mark.usefixtures("academy")
def test_running_a_day_again_proposes_nothing_new(store: Store, now: datetime) -> None:
    day = newest_closed_day(now).isoformat()
    run("daily", store, now, partition_key=day)
    before = count(store, tables.actions)
    assert run("daily", store, now, partition_key=day).success
    assert count(store, tables.actions) == before


@pytest.mark.usefixtures("academy")
def test_a_feed_that_stopped_holds_every_proposal(store: Store, now: datetime) -> None:
    later = now + timedelta(days=3)
    result = run("daily", store, later, partition_key=newest_closed_day(later).isoformat())
    assert not result.success
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed == ["feed_is_fresh"]
    assert "actions" not in materialized(result)
    assert count(store, tables.actions) == 0


@pytest.mark.usefixtures("academy")
def test_the_command_line_holds_proposals_for_the_same_reason(store: Store, now: datetime) -> None:
    later = now + timedelta(days=3)
    newest = newest_closed_day(later)
    steps = daily(store, Window(newest, newest, later), Settings(), "test")
    done = []
    with pytest.raises(Permanent, match="stopped after"):
        done.extend(name for name, step in steps if step())
    assert count(store, tables.actions) == 0


@pytest.mark.usefixtures("academy")
def test_the_weekly_job_writes_the_report_of_the_last_whole_week(store: Store, now: datetime) -> None:
    run("daily", store, now, partition_key=newest_closed_day(now).isoformat())
    result = run("weekly", store, now, partition_key=newest_closed_week(now).isoformat())
    assert result.success
    with store.transaction() as conn:
        assert set(conn.scalars(sa.select(tables.reports.c.week))) == {newest_closed_week(now)}


@pytest.mark.usefixtures("academy")
def test_the_models_say_what_came_of_each_target_and_draw_how_well_they_are_calibrated(
    store: Store, now: datetime
) -> None:
    run("daily", store, now, partition_key=newest_closed_day(now).isoformat())
    result = run("weekly", store, now, partition_key=newest_closed_week(now).isoformat())
    events = {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}
    shown = events["models"].materialization.metadata
    told = {one["target"]: one for one in shown["models"].value}
    assert list(told) == ["churn", "completion", "upgrade", "referral"]
    assert all(one["note"] for one in told.values())
    assert told["churn"]["metrics"]
    assert {check.check_name: check.passed for check in result.get_asset_check_evaluations()} == {
        "equals_rebuild": True
    }
    for target, one in told.items():
        plot = shown.get(f"{target}_calibration")
        assert (plot is not None) == bool(one["metrics"])
        if plot is not None:
            drawing = base64.b64decode(plot.value.partition("base64,")[2].rstrip(")")).decode()
            assert drawing.count("<circle") == len(one["metrics"]["bins"])


@pytest.mark.usefixtures("academy")
def test_the_models_say_why_so_young_an_academy_has_no_value_forecast(store: Store, now: datetime) -> None:
    result = run("weekly", store, now, partition_key=newest_closed_week(now).isoformat())
    shown = {one.asset_key.to_user_string(): one for one in result.get_asset_materialization_events()}["models"]
    assert shown.materialization.metadata["ltv_promoted"].value is False
    assert str(shown.materialization.metadata["ltv_note"].value).startswith("Too little history")
    assert "ltv_holdout" not in shown.materialization.metadata


def test_the_models_draw_what_was_expected_of_customers_and_what_came(store: Store, now: datetime) -> None:
    with store.transaction() as conn:
        opened(conn, 600)
    result = run("weekly", store, now, partition_key=newest_closed_week(now).isoformat())
    assert result.success
    shown = {one.asset_key.to_user_string(): one for one in result.get_asset_materialization_events()}["models"]
    metadata = shown.materialization.metadata
    groups = metadata["ltv_metrics"].value["groups"]
    drawing = base64.b64decode(metadata["ltv_holdout"].value.partition("base64,")[2].rstrip(")")).decode()
    assert metadata["ltv_version"].value == 1
    assert [one["purchases"] for one in groups][:2] == ["1 purchase", "2 purchases"]
    for one in groups:
        assert f"{one['purchases']}, expected" in drawing
        assert f">{round(one['actual']):,}</text>" in drawing


@pytest.mark.usefixtures("academy")
def test_react_leaves_nothing_dirty(store: Store, now: datetime) -> None:
    result = run("react", store, now)
    assert result.success
    assert count(store, tables.dirty_user_days) == 0
    assert count(store, tables.dirty_users) == 0


@pytest.mark.usefixtures("academy")
def test_a_second_reaction_writes_nothing(store: Store, now: datetime) -> None:
    for _, step in react(store, now, Settings()):
        step()
    before = count(store, tables.actions)
    reports = {name: step() for name, step in react(store, now, Settings())}
    assert reports["user_days"].written == 0
    assert reports["segments"].written == 0
    assert count(store, tables.actions) == before


def test_an_older_window_is_untouched_by_stages_that_decide(store: Store, now: datetime) -> None:
    window = Window(date(2026, 1, 1), date(2026, 1, 2), now)
    reports = {name: step() for name, step in daily(store, window, Settings(), "test")}
    assert [name for name, report in reports.items() if report is OLDER] == [
        "activity", "segments", "predictions", "actions", "next_best", "deliveries", "outcomes", "experiments",
        "retention",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("counted", "first"),
    [
        (None, date(2026, 3, 3)),
        (date(2026, 3, 2), date(2026, 3, 3)),
        (date(2026, 2, 25), date(2026, 2, 26)),
        (date(2014, 10, 1), date(2026, 3, 3)),
    ],
    ids=["never ran", "ran yesterday", "down for a week", "only history was counted"],
)
def test_a_daily_run_makes_up_for_a_downtime_but_not_for_history(counted: date | None, first: date) -> None:
    assert first_missed(counted, date(2026, 3, 3)) == first
