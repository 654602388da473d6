"""Why a segment changed is kept with the change: something new is known, a day went by, another model stands."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import audience, classifier
from oracle_lib.observe import profiles
from oracle_lib.observe.profiles import ProfileChange
from oracle_lib.settings import Settings
from oracle_lib.storage import queue, tables
from tests import world
from tests.conftest import NOW

TODAY = NOW.date()


def changes(conn: Connection, field: str) -> list[tuple[str, str | None, str | None, str | None]]:
    """(user, old, new, cause) of a field, oldest first."""
    kept = tables.segment_changes.c
    query = sa.select(kept.user_id, kept.old, kept.new, kept.cause).where(kept.field == field).order_by(kept.id)
    return [tuple(row) for row in conn.execute(query)]


def silent(conn: Connection, days: int, user: str = "u1") -> None:
    at = NOW - timedelta(days=days)
    world.post(conn, [world.event(user, "login", at, messageId=f"{user}-{days}")], NOW)


def test_events_and_the_passing_of_days_are_told_apart(conn: Connection) -> None:
    silent(conn, 14)
    silent(conn, 14, "u2")
    world.run_stages(conn, TODAY)
    conn.execute(sa.delete(tables.segment_changes))
    silent(conn, 0, "u2")
    world.run_stages(conn, TODAY + timedelta(days=1))
    assert changes(conn, "engagement_level") == [("u1", "moderate", "dormant", "time")]
    silent(conn, 0)
    world.run_stages(conn, TODAY + timedelta(days=1))
    assert changes(conn, "engagement_level")[1:] == [("u1", "dormant", "moderate", "events")]


def test_on_the_day_that_moves_whoever_did_something_changed_for_that(conn: Connection) -> None:
    silent(conn, 20)
    silent(conn, 14, "u2")
    world.run_stages(conn, TODAY)
    conn.execute(sa.delete(tables.segment_changes))
    silent(conn, 0)
    world.run_stages(conn, TODAY + timedelta(days=1))
    assert set(changes(conn, "engagement_level")) == {
        ("u1", "dormant", "moderate", "events"),
        ("u2", "moderate", "dormant", "time"),
    }
    assert {row[3] for row in changes(conn, "churn_level") if row[0] == "u1"} == {"events"}


def test_a_profile_changes_a_segment_by_itself(conn: Connection) -> None:
    silent(conn, 3)
    world.run_stages(conn, TODAY)
    conn.execute(sa.delete(tables.segment_changes))
    profiles.put(conn, "u1", ProfileChange(joined_at=NOW - timedelta(days=300)), source="test", now=NOW)
    world.run_stages(conn, TODAY)
    assert changes(conn, "engagement_level") == [("u1", "new", "moderate", "profile")]


def test_settings_and_models_are_causes_where_no_day_moved(conn: Connection) -> None:
    world.post(conn, [world.event("u1", "purchase", NOW, metadata={"amount": 60, "currency": "USD"})], NOW)
    world.run_stages(conn, TODAY)
    conn.execute(sa.delete(tables.segment_changes))
    classifier.classify(conn, TODAY, settings=Settings(value_medium=50), everyone=True)
    assert changes(conn, "value_segment") == [("u1", "low", "medium", "settings")]
    conn.execute(sa.update(tables.segments).values(churn_level="high"))
    queue.add_everyone(conn, "predictions")
    world.run_stages(conn, TODAY)
    assert changes(conn, "churn_level") == [("u1", "high", "low", "model")]


@pytest.mark.parametrize("day", [TODAY, TODAY + timedelta(days=1)])
def test_when_a_user_was_last_looked_at_is_told_whether_anything_changed_or_not(conn: Connection, day: date) -> None:
    silent(conn, 3)
    world.run_stages(conn, TODAY)
    assert audience.get(conn, "u1").last_analyzed == conn.scalar(sa.select(sa.func.now()))
    conn.execute(sa.update(tables.segments).values(last_analyzed=None))
    conn.execute(sa.update(tables.watermarks).values(everyone_at=NOW - timedelta(days=3)))
    assert audience.get(conn, "u1").last_analyzed == NOW - timedelta(days=3)
    queue.take_users(conn, "rules")
    conn.execute(sa.insert(tables.dirty_users).values(stage="predictions", user_id="u1"))
    world.run_stages(conn, day)
    assert audience.get(conn, "u1").last_analyzed == conn.scalar(sa.select(sa.func.now()))
