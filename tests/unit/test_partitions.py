"""Partitions come on demand and go with retention; a dropped day is sealed and its rollup stays."""

import threading
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.observe import activity
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest, mark_dirty
from oracle_lib.observe.wire import Limits
from oracle_lib.storage import partitions, tables
from oracle_lib.storage.engine import Store
from tests import world

TODAY = date(2026, 3, 4)


def names(conn: Connection, table: str) -> list[str]:
    query = sa.text(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:name AS regclass) ORDER BY 1"
    )
    return [name.removeprefix("oracle.") for name in conn.execute(query, {"name": f"oracle.{table}"}).scalars()]


def test_young_days_have_a_partition_each_and_old_history_one_a_month(conn: Connection) -> None:
    partitions.ensure_days(conn, [TODAY, TODAY - timedelta(days=1), date(2013, 2, 3), date(2013, 2, 27)], TODAY)
    partitions.ensure_days(conn, [TODAY, date(2013, 2, 3)], TODAY)
    assert names(conn, "events") == [
        "events_20130201_20130301",
        "events_20260303_20260304",
        "events_20260304_20260305",
    ]


def test_a_month_never_overlaps_days_that_were_made_before(conn: Connection) -> None:
    partitions.ensure_days(conn, [date(2026, 1, 10)], TODAY)
    later = date(2026, 9, 1)
    partitions.ensure_days(conn, [date(2026, 1, 20), date(2026, 1, 10)], later)
    assert names(conn, "events") == ["events_20260110_20260111", "events_20260120_20260121"]


def test_retention_drops_and_seals_counted_days_and_keeps_their_rollup(conn: Connection, now: datetime) -> None:
    world.post(conn, [world.event("u", "login", now - timedelta(days=days)) for days in (0, 95)], now)
    assert partitions.drop_expired(conn, TODAY, 90) == []
    activity.rollup(conn)
    old = TODAY - timedelta(days=95)
    assert partitions.drop_expired(conn, TODAY, 90) == [old]
    assert conn.execute(sa.select(tables.sealed_days.c.day)).scalars().all() == [old]
    late = world.event("u", "login", now - timedelta(days=95), messageId="x")
    report = ingest(conn, [late], door=world.DOOR, received_at=now)
    assert [one.code for one in report.rejected] == ["too_old"]
    mark_dirty(conn, [("u", old)])
    activity.rollup(conn)
    assert conn.scalar(sa.select(tables.user_days.c.login).where(tables.user_days.c.day == old)) == 1


def test_nothing_goes_while_an_import_is_under_way(conn: Connection, now: datetime) -> None:
    world.post(conn, [world.event("u", "login", now - timedelta(days=95))], now)
    activity.rollup(conn)
    half = {"kind": "jsonl", "name": "f", "content_sha256": b"x" * 32, "started_at": now - timedelta(hours=3)}
    conn.execute(sa.insert(tables.imports), half)
    assert partitions.drop_expired(conn, TODAY, 90) == []
    conn.execute(sa.update(tables.imports).values(started_at=now - timedelta(days=4)))
    assert len(partitions.drop_expired(conn, TODAY, 90)) == 1


def test_retention_waits_for_whoever_is_storing_and_keeps_what_they_mark(store: Store, now: datetime) -> None:
    """A day is dropped only once nothing can still come into it uncounted."""
    old = world.event("u", "login", now - timedelta(days=95))
    with store.transaction() as conn:
        world.post(conn, [old], now)
        activity.rollup(conn)
    dropped: list[date] = []

    def retain() -> None:
        with store.transaction() as conn:
            dropped.extend(partitions.drop_expired(conn, TODAY, 90))

    waiting = threading.Thread(target=retain)
    with store.transaction() as conn:
        world.post(conn, [world.event("v", "login", now - timedelta(days=95))], now)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join()
    assert dropped == []
    with store.transaction() as conn:
        assert activity.rollup(conn).pairs == 1
        assert len(partitions.drop_expired(conn, TODAY, 90)) == 1


def test_retention_can_be_off(conn: Connection, now: datetime) -> None:
    world.post(conn, [world.event("u", "login", now - timedelta(days=900))], now)
    activity.rollup(conn)
    assert partitions.drop_expired(conn, TODAY, None) == []


def test_message_ids_are_forgotten_after_two_days_and_those_of_imports_never(conn: Connection, now: datetime) -> None:
    live = Door(source="live", limits=Limits(currency="USD"))
    ingest(conn, [world.event("u", "login", now, messageId="live")], door=live, received_at=now)
    world.post(conn, [world.event("u", "login", now, messageId="imported")], now)
    for days in range(6):
        partitions.ensure_keys(conn, TODAY + timedelta(days=days))
        partitions.drop_expired(conn, TODAY + timedelta(days=days), 90)
        known = set(conn.execute(sa.select(tables.event_keys.c.message_id)).scalars())
        assert "imported" in known
        assert ("live" in known) == (days <= 3)
