"""However events arrive, late, twice or out of order, the incremental tables equal a rebuild, row for row."""

import random
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from oracle_lib.observe import activity
from oracle_lib.storage import queue, tables
from oracle_lib.storage.engine import Store
from tests import world
from tests.conftest import FULL, NOW

EVENTS = 100_000 if FULL else 6_000
KEPT_BY_USER = (tables.user_days, tables.user_day_events, tables.activity)


def test_incremental_equals_rebuild_with_late_duplicate_and_disordered_events(
    store: Store, second_store: Store, now: datetime
) -> None:
    bodies = list(world.events(EVENTS, users=EVENTS // 60, until=now, days=100, seed=7))
    rnd = random.Random(8)
    sent = [*bodies, *rnd.sample(bodies, len(bodies) // 20)]
    rnd.shuffle(sent)
    for day in range(5):
        moment = now - timedelta(days=4 - day)
        part = sent[day::5]
        for start in range(0, len(part), 2000):
            with store.transaction() as conn:
                world.post(conn, part[start : start + 2000], now)
        with store.transaction() as conn:
            world.run_stages(conn, moment.date())
    with second_store.transaction() as conn:
        assert world.post(conn, bodies, now) == len(bodies)
    with second_store.transaction() as conn:
        world.run_stages(conn, now.date(), everyone=True)
    with store.transaction() as left, second_store.transaction() as right:
        assert world.state(left) == world.state(right)
    with store.transaction() as conn:
        assert activity.refresh(conn, now.date(), everyone=True).written == 0


@given(seed=st.integers(0, 10**6), skipped_days=st.integers(0, 120))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_days_without_a_run_leave_no_trace(store: Store, seed: int, skipped_days: int) -> None:
    """A run after days of downtime gives what a rebuild gives."""
    later = NOW.date() + timedelta(days=skipped_days)
    with store.engine.connect() as conn:
        world.post(conn, list(world.events(300, users=12, until=NOW, days=100, seed=seed)), NOW)
        world.run_stages(conn, NOW.date())
        world.run_stages(conn, later)
        incremental = world.state(conn)
        world.run_stages(conn, later, everyone=True)
        assert world.state(conn) == incremental
        conn.rollback()


@given(seed=st.integers(0, 10**6), gaps=st.lists(st.integers(1, 40), min_size=2, max_size=3))
@settings(max_examples=40 if FULL else 3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_days_that_come_one_by_one_give_what_a_rebuild_gives(store: Store, seed: int, gaps: list[int]) -> None:
    """Each run finds new days, a few late events, a few ahead of the day it stands for, and users never seen."""
    rnd = random.Random(seed)
    bodies = list(world.events(500, users=25, until=NOW, days=120, seed=seed))
    stands_for = [NOW.date() - timedelta(days=sum(gaps[n:])) for n in range(len(gaps) + 1)]
    with store.engine.connect() as conn:
        put_catalogue(conn)
        for as_of in stands_for:
            come = [body for body in bodies if (world.day_of(body) <= as_of) ^ (rnd.random() < 0.03)]
            bodies = [body for body in bodies if body not in come]
            world.post(conn, come, NOW)
            activity.rollup(conn)
            activity.refresh(conn, as_of)
            assert activity.refresh(conn, as_of, everyone=True).written == 0
        conn.rollback()


def put_catalogue(conn: Connection) -> None:
    """List two of the courses that the events are of, and most of their lessons."""
    conn.execute(sa.insert(tables.courses), [{"id": f"c{n}", "title": f"Course {n}"} for n in range(2)])
    listed = [{"course_id": f"c{n % 2}", "id": f"l{n // 2}", "title": "x", "position": n} for n in range(18)]
    conn.execute(sa.insert(tables.lessons), listed)


def test_only_users_of_whom_an_older_day_changed_are_worked_out_again(conn: Connection) -> None:
    world.post(conn, [world.event(user, "login", NOW - timedelta(days=3)) for user in ("new", "late", "silent")], NOW)
    world.run_stages(conn, NOW.date() - timedelta(days=1))
    world.post(conn, [world.event(user, "login", NOW) for user in ("new", "late", "unseen")], NOW)
    world.post(conn, [world.event("late", "quiz_pass", NOW - timedelta(days=2))], NOW)
    world.run_stages(conn, NOW.date())
    again = set(conn.execute(sa.text("SELECT user_id FROM counted_again")).scalars())
    assert again == {"late"}


def test_a_late_event_changes_exactly_the_day_it_touches(store: Store, now: datetime) -> None:
    with store.transaction() as conn:
        world.post(conn, list(world.events(3000, users=40, until=now, days=60, seed=11)), now)
        world.run_stages(conn, now.date())
    before = {table.name: versions(store, table) for table in KEPT_BY_USER}
    late = now - timedelta(days=12)
    with store.transaction() as conn:
        assert world.post(conn, [world.event("u3", name, late) for name in ("quiz_pass", "whiteboard_used")], now) == 2
        world.run_stages(conn, now.date())
    changed = {table.name: versions(store, table) ^ before[table.name] for table in KEPT_BY_USER}
    assert {row[:2] for row in changed["user_days"]} == {(late.date(), "u3")}
    assert {row[:3] for row in changed["user_day_events"]} == {(late.date(), "u3", "whiteboard_used")}
    assert {row[0] for row in changed["activity"]} == {"u3"}


def versions(store: Store, table: sa.Table) -> set[tuple[object, ...]]:
    """The key of each row of a table and the transaction that wrote it: a row that was left alone keeps both."""
    with store.transaction() as conn:
        written = sa.literal_column("xmin::text")
        return {tuple(row) for row in conn.execute(sa.select(*table.primary_key.columns, written).select_from(table))}


@pytest.mark.parametrize("seed", range(3))
def test_running_a_stage_again_writes_nothing(store: Store, now: datetime, seed: int) -> None:
    with store.transaction() as conn:
        world.post(conn, list(world.events(1500, users=40, until=now, days=60, seed=seed)), now)
        world.run_stages(conn, now.date())
        before = world.state(conn)
        world.run_stages(conn, now.date())
        assert world.state(conn) == before


def test_a_new_day_hands_everybody_on_as_one_row(store: Store, now: datetime) -> None:
    waiting = sa.select(tables.dirty_users.c.stage, tables.dirty_users.c.user_id)
    with store.transaction() as conn:
        world.post(conn, list(world.events(300, users=20, until=now, days=60, seed=4)), now)
        world.run_stages(conn, now.date())
        assert conn.execute(waiting).all() == [("rules", None)]
        assert queue.take_users(conn, "rules") == queue.EVERYONE
        assert conn.execute(waiting).all() == []
