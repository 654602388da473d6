"""Reads segments back: who is where now, one user, a page of those a filter chooses, or how many of each kind.

A page's `total` and the counts by value are of everybody the filter chooses, so they equal the list walked page by
page (tests/api/test_segment_filters.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import NotFound
from oracle_lib.storage.tables import segments, value_forecasts, watermarks

MAX_LIMIT = 200
# The word for a text that is not known: it matches where nothing is stored, and what is counted there.
UNKNOWN = "unknown"
Value = TypeVar("Value", int, Decimal, date)


@dataclass(frozen=True)
class Range(Generic[Value]):
    """From `least` to `most`, both included; an end that is None is open. Who has no value is in no range."""

    least: Value | None = None
    most: Value | None = None


@dataclass(frozen=True)
class Filter:
    """Which segments: those that match every field that is named here. Without any, all of them.

    Of words any matches, `UNKNOWN` where nothing is known. Scores, progress, and probabilities as the wire has them are
    0-100: 0.125 is 13. `ltv` is money.
    """

    user_id: tuple[str, ...] = ()
    engagement_level: tuple[str, ...] = ()
    engagement_score: Range[int] = Range()
    churn_risk: Range[int] = Range()
    churn_level: tuple[str, ...] = ()
    churn_reason: tuple[str, ...] = ()
    lifecycle: tuple[str, ...] = ()
    persona: tuple[str, ...] = ()
    learning_style: tuple[str, ...] = ()
    ltv: Range[Decimal] = Range()
    value_segment: tuple[str, ...] = ()
    completion_prob: Range[int] = Range()
    upgrade_prob: Range[int] = Range()
    referral_prob: Range[int] = Range()
    best_contact_time: tuple[str, ...] = ()
    best_channel: tuple[str, ...] = ()
    progress: Range[int] = Range()
    course_id: tuple[str, ...] = ()
    last_active_on: Range[date] = Range()


EVERYBODY = Filter()
# The fields that hold words: what `counts` counts by.
WORDS = tuple(one.name for one in fields(Filter) if one.default == () and one.name != "user_id")


@dataclass(frozen=True)
class ValueForecast:
    """What a customer is expected to pay in the `horizon_days` after `as_of`, and the 80 % interval, in money.

    The expectation is a mean: it may lie above an interval that says nothing will most likely be paid.
    """

    expected: Decimal
    lower: Decimal
    upper: Decimal
    horizon_days: int
    as_of: date


@dataclass(frozen=True)
class Segment:
    """Where one user stands. Risk and probabilities are 0-1, scores and progress 0-100, `ltv` is money.

    There is an `ltv_forecast` of customers, while the forecast is earned.
    """

    id: UUID
    user_id: str
    engagement_level: str
    engagement_score: int
    churn_risk: float
    churn_level: str | None
    churn_reason: str | None
    lifecycle: str
    persona: str | None
    learning_style: str | None
    ltv: Decimal | None
    ltv_forecast: ValueForecast | None
    value_segment: str | None
    completion_prob: float | None
    upgrade_prob: float | None
    referral_prob: float | None
    best_contact_time: str | None
    best_channel: str | None
    progress: int | None
    course_id: str | None
    last_active_on: date | None
    last_analyzed: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Page:
    """Some segments by user id, the id to go on after (None at the end), and how many there are on all pages."""

    segments: list[Segment]
    next_after: str | None
    total: int


@dataclass(frozen=True)
class Counts:
    """How many users a filter chooses, and of these how many by each value of each of `WORDS`.

    The counts of a field add up to `total`; whose value is not known is counted as `UNKNOWN`.
    """

    total: int
    by_value: Mapping[str, Mapping[str, int]]


def get(conn: Connection, user_id: str) -> Segment:
    """Return a user's segment. Raises `NotFound` for a user who was never analyzed."""
    row = conn.execute(_READ.where(segments.c.user_id == user_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no segment of a user {user_id}.")
    return _segment(row)


def page(conn: Connection, chosen: Filter = EVERYBODY, *, after: str = "", limit: int = 50) -> Page:
    """Return up to `limit` of the segments that `chosen` matches, of users whose id comes after `after`."""
    matches = _conditions(chosen)
    size = min(limit, MAX_LIMIT)
    following = _READ.where(segments.c.user_id > after, *matches)
    found = [_segment(row) for row in conn.execute(following.order_by(segments.c.user_id).limit(size + 1))]
    total = conn.execute(sa.select(sa.func.count()).select_from(segments).where(*matches)).scalar_one()
    return Page(found[:size], found[size - 1].user_id if len(found) > size else None, total)


def counts(conn: Connection, chosen: Filter = EVERYBODY) -> Counts:
    """Count the users that `chosen` matches, by each value of each field of words, in one pass over them."""
    words = (sa.func.coalesce(segments.c[name], UNKNOWN).label(name) for name in WORDS)
    users = sa.select(*words).where(*_conditions(chosen)).cte("users")
    by_each = sa.func.grouping_sets(*(sa.tuple_(column) for column in users.c))
    count, word = sa.func.count(), sa.func.coalesce(*users.c)
    rows = conn.execute(
        sa.select(sa.func.grouping(*users.c), word, count).group_by(by_each).order_by(count.desc(), word)
    )
    by_value: dict[str, dict[str, int]] = {name: {} for name in WORDS}
    for left_out, value, number in rows:
        by_value[_COUNTED_BY[left_out]][value] = number
    return Counts(sum(by_value[WORDS[0]].values()), by_value)


def levels(conn: Connection) -> dict[str, int]:
    """Return how many users stand at each engagement level now."""
    rows = conn.execute(sa.select(segments.c.engagement_level, sa.func.count()).group_by(segments.c.engagement_level))
    return {row[0]: row[1] for row in rows}


def _segment(row: sa.Row) -> Segment:
    own = {name: row._mapping[name] for name in _OWN}
    told = {name: row._mapping[column] for name, column in _FORECAST.items()}
    return Segment(**own, ltv_forecast=None if told["expected"] is None else ValueForecast(**told))


def _conditions(chosen: Filter) -> list[sa.ColumnElement[bool]]:
    """Return what a row has to meet: one condition for each end of a range and each field of words that is named."""
    found: list[sa.ColumnElement[bool]] = []
    for one in fields(Filter):
        column, wanted = segments.c[one.name], getattr(chosen, one.name)
        if isinstance(wanted, Range):
            number = _as_percent(column) if isinstance(column.type, sa.Float) else column
            found += [number >= wanted.least] if wanted.least is not None else []
            found += [number <= wanted.most] if wanted.most is not None else []
        elif wanted:
            known = column.in_(wanted)
            found.append(sa.or_(known, column.is_(None)) if UNKNOWN in wanted and column.nullable else known)
    return found


def _as_percent(probability: sa.ColumnElement[float]) -> sa.ColumnElement[int]:
    """Return a probability as the integer 0-100 that people see, halves rounded up."""
    return sa.func.floor(probability * 100 + 0.5)


_OWN = tuple(name for name in Segment.__dataclass_fields__ if name != "ltv_forecast")
_EVERYONE = sa.select(watermarks.c.everyone_at).where(watermarks.c.stage == "predictions").scalar_subquery()
# A look at everybody is one row, and not one of each user.
_COLUMNS = tuple(
    sa.func.greatest(segments.c.last_analyzed, _EVERYONE).label(name) if name == "last_analyzed" else segments.c[name]
    for name in _OWN
)
_FORECAST = {name: value_forecasts.c[name] for name in ValueForecast.__dataclass_fields__}
_READ = sa.select(*_COLUMNS, *_FORECAST.values()).select_from(
    segments.outerjoin(value_forecasts, value_forecasts.c.user_id == segments.c.user_id)
)
# What GROUPING() says of a row -> the field it counts by: a bit for each field, the last one lowest, 0 for that one.
_COUNTED_BY = {(1 << len(WORDS)) - 1 - (1 << place): name for place, name in enumerate(reversed(WORDS))}
