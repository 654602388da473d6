"""The state of the house in a few counts, without a word about anybody: what the first page shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib import clock
from oracle_lib.analyze import audience
from oracle_lib.storage.tables import actions, events, rejected_events, reports

_CLOSED = timedelta(days=7)


@dataclass(frozen=True)
class Overview:
    """Counts at one moment. `actions` by status: the open ones in all, the ended ones of the last 7 days."""

    at: datetime
    users_by_level: Mapping[str, int]
    actions_by_status: Mapping[str, int]
    events_today: int
    rejected_today: int
    newest_report: date | None

    @property
    def users(self) -> int:
        """How many users are analyzed."""
        return sum(self.users_by_level.values())


def look(conn: Connection, now: datetime) -> Overview:
    """Count. A day is a UTC day."""
    today = clock.start_of(now.date())
    by_status = (
        sa.select(actions.c.status, sa.func.count())
        .where(sa.or_(actions.c.status.in_(["pending", "approved", "executing"]), actions.c.updated_at > now - _CLOSED))
        .group_by(actions.c.status)
    )
    came = sa.and_(events.c.created_at >= today, events.c.created_at <= now)
    return Overview(
        at=now,
        users_by_level=audience.levels(conn),
        actions_by_status={row[0]: row[1] for row in conn.execute(by_status)},
        events_today=_count(conn, events, came),
        rejected_today=_count(conn, rejected_events, rejected_events.c.received_at >= today),
        newest_report=conn.scalar(sa.select(sa.func.max(reports.c.week)).where(reports.c.kind == "ceo")),
    )


def _count(conn: Connection, table: sa.Table, which: sa.ColumnElement[bool]) -> int:
    return conn.scalar(sa.select(sa.func.count()).select_from(table).where(which)) or 0
