"""When to remind people of what waits for them: once a UTC day, while something waits too long.

That a reminder was given is a row in `watermarks`, written in the caller's transaction: two processes give one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.tables import actions

_STAGE = "reminders"


@dataclass(frozen=True)
class Reminder:
    """How many pending actions wait too long, and since when the oldest does."""

    actions: int
    oldest: datetime


def due(conn: Connection, now: datetime, after: timedelta) -> Reminder | None:
    """Return today's reminder if there is something to remind of and none was given today. Does not commit."""
    waiting = sa.select(sa.func.count(), sa.func.min(actions.c.created_at)).where(
        actions.c.status == "pending", actions.c.created_at < now - after
    )
    count, oldest = conn.execute(waiting).one()
    if not count or not _claim(conn, now):
        return None
    return Reminder(actions=count, oldest=oldest)


def _claim(conn: Connection, now: datetime) -> bool:
    """Say whether today's reminder is ours to give."""
    won = conn.execute(
        sa.text(
            "INSERT INTO watermarks (stage, as_of) VALUES (:stage, :today)"
            " ON CONFLICT (stage) DO UPDATE SET as_of = excluded.as_of WHERE watermarks.as_of < excluded.as_of"
            " RETURNING stage"
        ),
        {"stage": _STAGE, "today": now.astimezone(UTC).date()},
    )
    return won.first() is not None
