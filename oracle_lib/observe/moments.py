"""The days an expression looks back from: one day, known when it is compiled, or many, out of a temporary table.

The same expression gives a user's state today, on a past day, and on the hundred past days of a backfill or a training
set in one statement. Days before a moment are columns of the table, so that windows stay plain comparisons of dates.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.publish import compiled, run
from oracle_lib.storage.relations import scratch

# Every distance in days that a window may have.
DISTANCES = (1, 7, 30, 90)
_TABLE, _OF_USERS, _TURNS = "moments", "moments_of_users", "turns"


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
        table = scratch(_TABLE, _COLUMNS)
        return rows.cross_join(table) if day is None else rows.join(table, rows[day] <= table.as_of)

    def before(self, rows: ibis.Table, days: int) -> ibis.Value:
        """See `Moments`."""
        return rows[_before(days)]


@dataclass(frozen=True)
class DaysOfUsers:
    """Days that differ from user to user, out of the temporary table that `keep_of_users` filled."""

    def attach(self, rows: ibis.Table, day: str | None = None) -> ibis.Table:
        """See `Moments`; `rows` have a column `user_id`."""
        table = scratch(_OF_USERS, {"user_id": "string", **_COLUMNS})
        return rows.join(table, "user_id") if day is None else rows.join(table, ["user_id", rows[day] <= table.as_of])

    def before(self, rows: ibis.Table, days: int) -> ibis.Value:
        """See `Moments`."""
        return rows[_before(days)]


def keep_of_users(conn: Connection, pairs: ibis.Table) -> Moments:
    """Fill the temporary table with `pairs` (user_id, as_of), until the transaction ends or the next call."""
    spread = {_before(days): pairs.as_of - ibis.interval(days=days) for days in DISTANCES}
    # What Ibis takes for days PostgreSQL has as points in time, until they are stored as days.
    _make(conn, _OF_USERS, {"user_id": "text", **_COLUMNS})
    run(conn, f"INSERT INTO {_OF_USERS} {compiled(pairs.mutate(**spread).select('user_id', *_COLUMNS))}")
    run(conn, f"ANALYZE {_OF_USERS}")
    return DaysOfUsers()


def keep(conn: Connection, days: Iterable[date]) -> Moments:
    """Fill the temporary table of moments with `days`, until the transaction ends or the next call."""
    _make(conn, _TABLE, _COLUMNS)
    spread = ", ".join(f"day - {distance}" for distance in DISTANCES)
    conn.execute(
        sa.text(f"INSERT INTO {_TABLE} SELECT day, {spread} FROM unnest(CAST(:days AS date[])) AS day"),
        {"days": list(days)},
    )
    run(conn, f"ANALYZE {_TABLE}")
    return ManyDays()


def keep_turns(conn: Connection, before: date, as_of: date) -> ibis.Table:
    """Return the days that turn to count, or leave a window, as the moment moves from `before` to a later `as_of`.

    `is_new` says which had not come by `before`; `turn(days)` names the column that is 1 where the window of so many
    days gains the day, -1 where it loses it. Kept in a temporary table until the transaction ends or the next call.
    """
    days = [before + timedelta(days=n) for n in range(-max(DISTANCES), (as_of - before).days + 1)]
    turns = [
        {"day": day, "is_new": day > before} | {turn(long): _turn(day, before, as_of, long) for long in DISTANCES}
        for day in days
    ]
    columns = {"day": "date", "is_new": "boolean", **{turn(long): "int" for long in DISTANCES}}
    _make(conn, _TURNS, columns)
    kept = [row for row in turns if row["is_new"] or any(row[turn(long)] for long in DISTANCES)]
    conn.execute(sa.insert(sa.table(_TURNS, *map(sa.column, columns))), kept)
    run(conn, f"ANALYZE {_TURNS}")
    return scratch(_TURNS, {**columns, **{turn(long): "int32" for long in DISTANCES}})


def days_between(earlier: ibis.Value, later: ibis.Value) -> ibis.Value:
    """Return the days from one date to another."""
    return (later - earlier).cast("int32")


def _make(conn: Connection, table: str, columns: Mapping[str, str]) -> None:
    run(conn, f"DROP TABLE IF EXISTS {table}")
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    run(conn, f"CREATE TEMPORARY TABLE {table} ({listed}) ON COMMIT DROP")


def _turn(day: date, before: date, as_of: date, days: int) -> int:
    """Return 1 for a day that a window of so many days gains from `before` to `as_of`, -1 for one that it loses."""
    counted, counts = (end - timedelta(days=days) < day <= end for end in (before, as_of))
    return int(counts) - int(counted)


def turn(days: int) -> str:
    """Return the column of `keep_turns` for the window of so many days."""
    return f"turn_{days}"


def _before(days: int) -> str:
    return f"before_{days}"


_COLUMNS = {"as_of": "date", **{_before(days): "date" for days in DISTANCES}}
