"""The days of a dry run: what was known when rules were asked on each of them, kept in a temporary table.

The daily run asks rules of time and of segments at 02:00 UTC, about the day that has just begun. Event rules are asked
all day long; here they are asked once, when the day is over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY, start_of
from oracle_lib.decide.firing import FRESH
from oracle_lib.storage.tables.base import Moment

# The day that every past day is moved to. Always the same, so that what is composed for it once serves every run.
TODAY = date(2000, 1, 1)
_DAILY_AT = timedelta(hours=2)
_DAILY_TAKES = timedelta(minutes=10)
_LAST_OF_DAY = DAY - timedelta(microseconds=1)


@dataclass(frozen=True)
class PastDay:
    """One asking: `now` is its moment, `written` until when its own stages wrote what it saw.

    Rollups count to the end of the day `whole`; what came after it and before `now` stands in raw events alone.
    """

    as_of: date
    whole: date
    now: datetime
    written: datetime
    standing: bool


run_days = sa.Table(
    "run_days",
    sa.MetaData(),
    sa.Column("as_of", sa.Date),
    sa.Column("whole", sa.Date),
    sa.Column("now", Moment),
    sa.Column("written", Moment),
    sa.Column("standing", sa.Boolean),
    sa.Column("fresh_after", Moment),
    sa.Column("fresh_from", sa.Date),
    # By how many days dates are moved to let the day be `TODAY`.
    sa.Column("shift", sa.Integer),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)


def between(first: date, last: date, trigger: str, published_at: datetime | None) -> list[PastDay]:
    """Return how rules of a trigger were asked on each day from `first` to `last`, in order.

    A version published within them answers standing states on the days after, as it did; None: it was long ago.
    """
    return [_asked_on(first + n * DAY, trigger, published_at) for n in range((last - first).days + 1)]


def keep(conn: Connection, days: Sequence[PastDay]) -> None:
    """Fill the temporary table `run_days` with days in order, until the transaction ends or the next call."""
    conn.execute(sa.text("DROP TABLE IF EXISTS pg_temp.run_days"))
    run_days.create(conn)
    rows = [
        {
            **vars(day),
            "fresh_after": day.now - FRESH,
            "fresh_from": day.as_of - FRESH,
            "shift": (TODAY - day.as_of).days,
        }
        for day in days
    ]
    conn.execute(sa.insert(run_days), rows)
    conn.execute(sa.text("ANALYZE pg_temp.run_days"))


def _asked_on(day: date, trigger: str, published_at: datetime | None) -> PastDay:
    if trigger == "event_based":
        now = start_of(day) + _LAST_OF_DAY
        whole, written = day, now
    else:
        now = start_of(day) + _DAILY_AT
        whole, written = day - DAY, now + _DAILY_TAKES
    standing = published_at is not None and now - FRESH < published_at <= now
    return PastDay(day, whole, now, written, standing)
