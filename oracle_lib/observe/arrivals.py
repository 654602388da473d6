"""What came in on which days: events by name, users, what was refused; room for the next days, and retention."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY, start_of
from oracle_lib.storage import partitions
from oracle_lib.storage.tables import events, rejected_events

_AHEAD_DAYS = 7


@dataclass(frozen=True)
class ArrivalsReport:
    """Events of the days by name, the users they belong to, and bodies refused in those days by reason."""

    first: date
    last: date
    users: int
    by_event: Mapping[str, int]
    refused: Mapping[str, int]

    @property
    def events(self) -> int:
        """All events of the days that are still kept."""
        return sum(self.by_event.values())


def arrived(conn: Connection, first: date, last: date) -> ArrivalsReport:
    """Count what is kept of the days `first` to `last`, both included. Days past retention count nothing."""
    start, end = start_of(first), start_of(last + DAY)
    here = sa.and_(events.c.created_at >= start, events.c.created_at < end)
    by_event = conn.execute(
        sa.select(events.c.event, sa.func.count())
        .where(here)
        .group_by(events.c.event)
        .order_by(sa.desc(sa.func.count()))
    )
    then = sa.and_(rejected_events.c.received_at >= start, rejected_events.c.received_at < end)
    refused = conn.execute(
        sa.select(rejected_events.c.reason_code, sa.func.count()).where(then).group_by(rejected_events.c.reason_code)
    )
    return ArrivalsReport(
        first=first,
        last=last,
        users=conn.scalar(sa.select(sa.func.count(events.c.user_id.distinct())).where(here)) or 0,
        by_event={row[0]: row[1] for row in by_event},
        refused={row[0]: row[1] for row in refused},
    )


def make_room(conn: Connection, today: date) -> None:
    """Make the partitions that the next days will need, so that no request has to."""
    partitions.ensure_days(conn, [today + timedelta(days=n) for n in range(_AHEAD_DAYS)], today)
    partitions.ensure_keys(conn, today)


@dataclass(frozen=True)
class RetentionReport:
    """Days whose raw events were dropped and sealed; their rollups stay."""

    dropped: tuple[date, ...]


def retain(conn: Connection, today: date, retention_days: int | None) -> RetentionReport:
    """Drop what is older than retention. A day that waits to be counted stays until it has been."""
    return RetentionReport(dropped=tuple(partitions.drop_expired(conn, today, retention_days)))
