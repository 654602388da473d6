"""The days an expression looks back from: one day, known when it is compiled, or many, out of a temporary table.

The same expression gives a user's state today, on a past day, and on the hundred past days of a backfill or a training
set in one statement. Days before a moment are columns of the table, so that windows stay plain comparisons of dates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.publish import run
from oracle_lib.storage.relations import scratch

# Every distance in days that a window may have.
DISTANCES = (1, 7, 14, 21, 28, 30, 90)
_TABLE = "moments"


class Moments(Protocol):
    """Days to look back from, in the column `as_of` of what `attach` returns."""

    def attach(self, rows: ibis.Table, day: str | None = None) -> ibis.Table:
        """Return `rows` once a moment, with `as_of`; only those whose column `day` is not after it."""

    def before(self, rows: ibis.Table, days: int) -> ibis.Value:
        """Return the date so many days before `as_of`, for attached `rows`."""


@dataclass(frozen=True)
class OneDay:
    """A single moment: the end of `day`."""

    day: date

    def attach(self, rows: ibis.Table, day: str | None = None) -> ibis.Table:
        """See `Moments`."""
        kept = rows if day is None else rows.filter(rows[day] <= self.day)
        return kept.mutate(as_of=ibis.literal(self.day))

    def before(self, rows: ibis.Table, days: int) -> ibis.Value:
        """See `Moments`."""
        del rows
        return ibis.literal(self.day - timedelta(days=days))


@dataclass(frozen=True)
class ManyDays:
    """The moments of the temporary table that `keep` filled."""

    def attach(self, rows: ibis.Table, day: str | None = None) -> ibis.Table:
        """See `Moments`."""
        table = scratch(_TABLE, {"as_of": "date", **{_before(days): "date" for days in DISTANCES}})
        return rows.cross_join(table) if day is None else rows.join(table, rows[day] <= table.as_of)

    def before(self, rows: ibis.Table, days: int) -> ibis.Value:
        """See `Moments`."""
        return rows[_before(days)]


def keep(conn: Connection, days: Iterable[date]) -> Moments:
    """Fill the temporary table of moments with `days`, until the transaction ends or the next call."""
    columns: Sequence[str] = [_before(distance) for distance in DISTANCES]
    run(conn, f"DROP TABLE IF EXISTS {_TABLE}")
    listed = ", ".join(f"{name} date" for name in ("as_of", *columns))
    run(conn, f"CREATE TEMPORARY TABLE {_TABLE} ({listed}) ON COMMIT DROP")
    spread = ", ".join(f"day - {distance}" for distance in DISTANCES)
    conn.execute(
        sa.text(f"INSERT INTO {_TABLE} SELECT day, {spread} FROM unnest(CAST(:days AS date[])) AS day"),
        {"days": list(days)},
    )
    run(conn, f"ANALYZE {_TABLE}")
    return ManyDays()


def _before(days: int) -> str:
    return f"before_{days}"
