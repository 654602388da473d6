"""Which days a run answers for, and what it may do about them.

What a run may propose or send is decided by its days against the clock, never by a flag: only a window that holds the
newest closed day may. Missed days after a downtime belong to the next run's window.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib import clock
from oracle_lib.storage.tables import segment_counts

# A gap in the daily runs up to so long is a downtime and made up for by itself; a longer one is history to backfill.
DOWNTIME_DAYS = 31


@dataclass(frozen=True)
class Window:
    """The closed days `first` to `last`, both included, that a run answers for, seen from `now`."""

    first: date
    last: date
    now: datetime

    @property
    def days(self) -> list[date]:
        """Every day of the window, oldest first."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    @property
    def newest(self) -> date:
        """The newest closed day at `now`."""
        return clock.newest_closed_day(self.now)

    @property
    def today(self) -> date:
        """The day on which the current tables stand."""
        return self.newest + clock.DAY

    @property
    def is_current(self) -> bool:
        """Say whether the window holds the newest closed day: only then may a run classify, propose and send."""
        return self.first <= self.newest <= self.last


@dataclass(frozen=True)
class Week:
    """A whole week, named by its Sunday, seen from `now`."""

    first: date
    now: datetime

    @property
    def is_current(self) -> bool:
        """Say whether it is the newest whole week: only then may a model be promoted."""
        return self.first == clock.newest_closed_week(self.now)


def missed_days(conn: Connection, now: datetime) -> Window:
    """Return the window of the next daily run: yesterday and the closed days before it that were never counted."""
    newest = clock.newest_closed_day(now)
    counted = conn.scalar(sa.select(sa.func.max(segment_counts.c.day)).where(segment_counts.c.day < newest))
    return Window(first=first_missed(counted, newest), last=newest, now=now)


def first_missed(counted_through: date | None, newest: date) -> date:
    """Return the first day to compute, given the last that was counted; a gap past `DOWNTIME_DAYS` is not made up."""
    if counted_through is None or newest - counted_through > timedelta(days=DOWNTIME_DAYS):
        return newest
    return min(counted_through + clock.DAY, newest)
