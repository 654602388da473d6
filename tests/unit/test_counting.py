"""Counts of past days: by hand, and many days at once as each of them alone."""

from collections import Counter
from datetime import date, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import counting
from oracle_lib.analyze.classifier import COUNTED, levels_expr
from oracle_lib.analyze.features import levels_state_expr
from oracle_lib.observe import activity
from oracle_lib.observe.moments import keep
from oracle_lib.storage import tables
from oracle_lib.storage.publish import compiled, run
from tests import world
from tests.conftest import NOW

TODAY = NOW.date()


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def test_counts_of_a_past_day_are_those_of_that_day(conn: Connection) -> None:
    world.post(
        conn,
        [
            world.event("a", "signup", days_ago(50)),
            world.event("a", "login", days_ago(40)),
            world.event("b", "signup", days_ago(5)),
        ],
        NOW,
    )
    world.run_stages(conn, TODAY)
    past = [TODAY - timedelta(days=days) for days in (60, 36, 20, 0)]
    counting.count(conn, past, settings=world.SETTINGS)
    counts = tables.segment_counts
    found: dict[date, dict[str, int]] = {day: {} for day in past}
    for row in conn.execute(sa.select(counts).where(counts.c.field == "engagement_level")):
        found[row.day][row.value] = row.users
    assert found == {
        past[0]: {},
        past[1]: {"moderate": 1},
        past[2]: {"dormant": 1},
        past[3]: {"lost": 1, "new": 1},
    }
    assert counting.count(conn, past, settings=world.SETTINGS).written == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_days_at_once_are_counted_as_each_of_them_alone(conn: Connection, seed: int) -> None:
    world.post(conn, list(world.events(600, users=40, until=NOW, days=200, seed=seed)), NOW)
    activity.rollup(conn)
    # Some are known by their profile before they do anything, some never do.
    conn.execute(sa.update(tables.users).where(tables.users.c.id < "u2").values(joined_at=days_ago(150)))
    conn.execute(sa.insert(tables.users), [{"id": f"idle{n}", "joined_at": days_ago(90 + n)} for n in range(3)])
    conn.execute(sa.insert(tables.users), [{"id": f"made{n}", "created_at": days_ago(40 + n)} for n in range(3)])
    days = [TODAY - timedelta(days=n) for n in range(240)]
    counting.count(conn, days, settings=world.SETTINGS)
    levels = levels_expr(levels_state_expr(keep(conn, days)), world.SETTINGS)
    one_by_one = Counter(
        (row.as_of, field, getattr(row, field)) for row in run(conn, compiled(levels)) for field in COUNTED
    )
    counts = tables.segment_counts
    found = conn.execute(sa.select(counts.c.day, counts.c.field, counts.c.value, counts.c.users))
    assert {tuple(row[:3]): row.users for row in found} == one_by_one
    assert len({day for day, *_ in one_by_one}) >= 200
