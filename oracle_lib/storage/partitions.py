"""Partitions of `events` and `event_keys`: made ahead and on demand, dropped when their time is over.

A day of events younger than `MONTHLY_AFTER` has a partition of its own, older history one a month. Message ids live in
a partition of their day of receipt; those of imported history in one that is never dropped.
"""

from collections.abc import Iterable
from datetime import date, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.clock import DAY
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import dirty_user_days, events, imports, sealed_days

IMPORTED = date(1970, 1, 1)
MONTHLY_AFTER = timedelta(days=180)
_KEYS_KEPT = timedelta(days=3)
_LOOK = sa.text(
    """
    SELECT asked.day, to_regclass(asked.name) IS NOT NULL AS has_partition, to_regclass(:keys) IS NOT NULL AS has_keys,
           EXISTS (SELECT 1 FROM sealed_days s WHERE s.day = asked.day) AS sealed
      FROM unnest(CAST(:days AS date[]), CAST(:names AS text[])) AS asked (day, name)
    """
)


def prepare(conn: Connection, days: Iterable[date], today: date) -> set[date]:
    """Make what is missing to store events of `days` received `today`; return those of `days` that are sealed.

    One statement when nothing is missing, as nearly always.
    """
    wanted = sorted(set(days))
    names = [_name("events", day, day + DAY) for day in wanted]
    seen = conn.execute(_LOOK, {"days": wanted, "names": names, "keys": _name("event_keys", today, today + DAY)}).all()
    if not seen or not all(row.has_keys for row in seen):
        ensure_keys(conn, today)
    sealed = {row.day for row in seen if row.sealed}
    ensure_days(conn, (row.day for row in seen if not row.has_partition and row.day not in sealed), today)
    return sealed


def ensure_days(conn: Connection, days: Iterable[date], today: date) -> None:
    """Make the partitions of `events` that hold `days`; fine when they are there."""
    wanted = sorted(set(days))
    if not wanted or not _uncovered(wanted, _spans(_existing(conn, "events"))):
        return
    lock(conn, "partitions")
    known = _spans(_existing(conn, "events"))
    for day in _uncovered(wanted, known):
        if _uncovered([day], known):
            first, end = _range_of(day, today)
            if any(start < end and first < stop for start, stop in known):
                first, end = day, day + DAY
            _create(conn, "events", first, end)
            known.append((first, end))


def ensure_keys(conn: Connection, today: date) -> None:
    """Make the partitions of `event_keys` for yesterday to tomorrow and for imports."""
    wanted = [IMPORTED, today - DAY, today, today + DAY]
    if not _uncovered(wanted, _spans(_existing(conn, "event_keys"))):
        return
    lock(conn, "partitions")
    for day in _uncovered(wanted, _spans(_existing(conn, "event_keys"))):
        _create(conn, "event_keys", day, day + DAY)


def drop_expired(conn: Connection, today: date, retention_days: int | None) -> list[date]:
    """Drop days of raw events older than retention and seal them; drop old message ids. Return the days dropped.

    A monthly partition goes when its last day is too old; a day that waits to be recounted stays, and nothing goes
    while an import is under way: the rest of its rows would find their days sealed.
    """
    for first, end in _spans(_existing(conn, "event_keys")):
        if first != IMPORTED and end <= today - _KEYS_KEPT:
            conn.exec_driver_sql(f"DROP TABLE {_name('event_keys', first, end)}")
    if retention_days is None:
        return []
    kept_from = today - timedelta(days=retention_days)
    expired = [(first, end) for first, end in _spans(_existing(conn, "events")) if end <= kept_from]
    if not expired:
        return []
    # Whoever is storing now commits first, so that what they mark dirty is seen; dropping needs this lock anyway.
    conn.exec_driver_sql(f"LOCK TABLE {events.name} IN ACCESS EXCLUSIVE MODE")
    if _import_under_way(conn, today):
        return []
    waiting = set(conn.execute(sa.select(dirty_user_days.c.day).distinct()).scalars())
    dropped: list[date] = []
    for first, end in expired:
        days = [first + timedelta(days=n) for n in range((end - first).days)]
        if waiting.isdisjoint(days):
            conn.exec_driver_sql(f"DROP TABLE {_name('events', first, end)}")
            dropped += days
    if dropped:
        conn.execute(insert(sealed_days).on_conflict_do_nothing(), [{"day": day} for day in dropped])
    return dropped


def _import_under_way(conn: Connection, today: date) -> bool:
    """Say whether an import has not finished; one that nobody resumed for two days no longer counts."""
    unfinished = sa.select(imports.c.id).where(imports.c.finished_at.is_(None), imports.c.started_at >= today - 2 * DAY)
    return conn.scalar(sa.select(unfinished.exists())) or False


def _range_of(day: date, today: date) -> tuple[date, date]:
    if today - day <= MONTHLY_AFTER:
        return day, day + DAY
    first = day.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def _uncovered(days: Iterable[date], spans: list[tuple[date, date]]) -> list[date]:
    return [day for day in days if not any(first <= day < end for first, end in spans)]


def _name(table: str, first: date, end: date) -> str:
    return f"{table}_{first:%Y%m%d}_{end:%Y%m%d}"


def _spans(names: Iterable[str]) -> list[tuple[date, date]]:
    parts = (name.rsplit("_", 2)[1:] for name in names)
    return sorted((_parsed(first), _parsed(end)) for first, end in parts)


def _parsed(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _existing(conn: Connection, table: str) -> set[str]:
    rows = conn.execute(
        sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:name AS regclass)"),
        {"name": f"{events.schema}.{table}"},
    )
    return {name.rsplit(".", 1)[-1] for name in rows.scalars()}


def _create(conn: Connection, table: str, first: date, end: date) -> None:
    schema = events.schema
    name = _name(table, first, end)
    conn.exec_driver_sql(
        f"CREATE TABLE {schema}.{name} PARTITION OF {schema}.{table} FOR VALUES FROM ('{first}') TO ('{end}')"
    )
