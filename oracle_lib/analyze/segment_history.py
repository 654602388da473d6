"""Reads back how segments moved: how many users of each kind there were day by day, and what changed of one user."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Invalid, NotFound
from oracle_lib.storage.tables import segment_changes, segment_counts, segments

MAX_DAYS = 400
MAX_LIMIT = 200


@dataclass(frozen=True)
class CountedDay:
    """How many users there were at the end of a UTC day, by the value of a field."""

    day: date
    users: Mapping[str, int]


@dataclass(frozen=True)
class Change:
    """One change of a user's segment: the field, what it was (None: nothing) and is, and the day it was worked out for.

    `cause`: events, profile or course where something new was known of the user, time where a day went by, model where
    another one stands, settings where these are others. `changed_at` is when it was written.
    """

    id: int
    field: str
    old: str | None
    new: str | None
    as_of: date
    cause: str | None
    changed_at: datetime


@dataclass(frozen=True)
class Changes:
    """Some changes, the newest first, and the id to go on before; None at the end."""

    changes: list[Change]
    next_before: int | None


def by_day(conn: Connection, field: str, first: date, last: date) -> list[CountedDay]:
    """Return the counts of a field (one of `classifier.COUNTED`) for the days from `first` to `last`, both included.

    A day that was not counted is left out. Raises `Invalid` for days in the wrong order or more than 400.
    """
    if first > last:
        raise Invalid(f"The days end on {last}, before they begin on {first}.", field="to", code="out_of_range")
    if last - first >= timedelta(days=MAX_DAYS):
        raise Invalid(f"Ask for at most {MAX_DAYS} days at once.", field="from", code="out_of_range")
    counted = segment_counts.c
    rows = conn.execute(
        sa.select(counted.day, sa.func.jsonb_object_agg(counted.value, counted.users))
        .where(counted.field == field, counted.day.between(first, last))
        .group_by(counted.day)
        .order_by(counted.day)
    )
    return [CountedDay(day, users) for day, users in rows]


def changes(conn: Connection, user_id: str, *, before: int | None = None, limit: int = 50) -> Changes:
    """Return up to `limit` changes of a user's segment, the newest first, those before the change `before`.

    Raises `NotFound` for a user who was never analyzed.
    """
    if conn.scalar(sa.select(segments.c.id).where(segments.c.user_id == user_id)) is None:
        raise NotFound(f"There is no segment of a user {user_id}.")
    # By id, not by time: it is given under the stage's lock, while `changed_at` is when a transaction began.
    query = sa.select(*_COLUMNS).where(segment_changes.c.user_id == user_id).order_by(segment_changes.c.id.desc())
    if before is not None:
        query = query.where(segment_changes.c.id < before)
    size = min(limit, MAX_LIMIT)
    found = [Change(**row._mapping) for row in conn.execute(query.limit(size + 1))]
    return Changes(found[:size], found[size - 1].id if len(found) > size else None)


_COLUMNS = tuple(segment_changes.c[name] for name in Change.__dataclass_fields__)
