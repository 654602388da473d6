"""Are the incremental tables what a rebuild would give? Asked of live data, row for row, without writing anything.

Everything is compared in one snapshot of the database, so that stages may go on meanwhile. Users who wait to be worked
out are left aside: of them the tables are known to be behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze.classifier import segment_expr
from oracle_lib.analyze.features import state_expr
from oracle_lib.clock import DAY
from oracle_lib.observe.activity import (
    standing_expr,
    user_day_events_expr,
    user_days_expr,
    user_lessons_expr,
)
from oracle_lib.observe.habits import habits_expr
from oracle_lib.observe.moments import OneDay
from oracle_lib.settings import Settings
from oracle_lib.storage import queue
from oracle_lib.storage.publish import compiled, run, scanning
from oracle_lib.storage.tables import (
    activity,
    habits,
    sealed_days,
    segments,
    user_day_events,
    user_days,
    user_lessons,
)

# Days of raw events that are counted again; older ones were compared in the weeks before.
RECOUNTED_DAYS = 8


@dataclass(frozen=True)
class RebuildReport:
    """One comparison: rows of each table that differ from those of a rebuild. All are 0, or something is broken."""

    as_of: date | None
    different: dict[str, int]

    @property
    def equal(self) -> bool:
        """Whether a rebuild would change nothing."""
        return not any(self.different.values())


def compare(conn: Connection, today: date, *, settings: Settings) -> RebuildReport:
    """Compare the derived tables with their rebuild; to be called first in its transaction, which sees one snapshot."""
    run(conn, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    run(
        conn,
        "CREATE TEMPORARY TABLE waiting ON COMMIT DROP AS SELECT user_id FROM dirty_user_days"
        " UNION SELECT user_id FROM dirty_users WHERE user_id IS NOT NULL",
    )
    with scanning(conn):
        different = _counts(conn, today) | _windows(conn) | _segments(conn, settings)
    return RebuildReport(as_of=queue.stands_for(conn, "segments"), different=different)


def _counts(conn: Connection, today: date) -> dict[str, int]:
    """Count the last days' events again."""
    sealed = conn.scalar(sa.select(sa.func.max(sealed_days.c.day)))
    first = today - timedelta(days=RECOUNTED_DAYS)
    first = max(first, sealed + DAY) if sealed else first
    end = today + 2 * DAY
    kept = f"day >= DATE '{first}' AND day < DATE '{end}'"
    return {
        "user_days": _different(conn, user_days, user_days_expr(first, end), ("user_id", "day"), kept),
        "user_day_events": _different(
            conn, user_day_events, user_day_events_expr(first, end), ("user_id", "day", "event"), kept
        ),
        "user_lessons": _different(
            conn, user_lessons, user_lessons_expr(first, end), ("user_id", "day", "course_id", "lesson_id"), kept
        ),
    }


def _windows(conn: Connection) -> dict[str, int]:
    """Sum the windows up again, of everybody's days."""
    as_of = queue.stands_for(conn, "activity")
    if as_of is None:
        return {}
    day = OneDay(as_of)
    return {
        "activity": _different(conn, activity, standing_expr(day).drop("as_of"), ("user_id",)),
        "habits": _different(conn, habits, habits_expr(day).drop("as_of"), ("user_id",)),
    }


def _segments(conn: Connection, settings: Settings) -> dict[str, int]:
    """Classify everybody again, from their days on."""
    as_of = queue.stands_for(conn, "segments")
    if as_of is None:
        return {}
    fresh = segment_expr(state_expr(OneDay(as_of)), settings).drop("as_of")
    return {"segments": _different(conn, segments, fresh, ("user_id",))}


def _different(conn: Connection, table: sa.Table, fresh: ibis.Table, key: Sequence[str], kept: str = "TRUE") -> int:
    """Return how many rows are in one of both only, or differ. Every name comes from our own table definitions."""
    on = " AND ".join(f"f.{name} = t.{name}" for name in key)
    here, there = (", ".join(f"{side}.{name}" for name in fresh.columns) for side in ("f", "t"))
    return int(
        run(
            conn,
            f"WITH fresh AS MATERIALIZED ({compiled(fresh)}), standing AS (SELECT * FROM {table.name} WHERE {kept})"
            f" SELECT count(*) FROM fresh f FULL JOIN standing t ON {on} WHERE ({here}) IS DISTINCT FROM ({there})"
            " AND NOT EXISTS (SELECT FROM waiting w WHERE w.user_id = COALESCE(f.user_id, t.user_id))",
        ).scalar_one()
    )
