"""Reads segments back: who is where now, one user or a page of many."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import NotFound
from oracle_lib.storage.tables import segments, value_forecasts, watermarks

MAX_LIMIT = 200


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
    """Some segments by user id, and the id to go on after; None at the end."""

    segments: list[Segment]
    next_after: str | None


def get(conn: Connection, user_id: str) -> Segment:
    """Return a user's segment. Raises `NotFound` for a user who was never analyzed."""
    row = conn.execute(_READ.where(segments.c.user_id == user_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no segment of a user {user_id}.")
    return _segment(row)


def page(
    conn: Connection,
    *,
    engagement_level: str | None = None,
    lifecycle: str | None = None,
    churn_level: str | None = None,
    after: str = "",
    limit: int = 50,
) -> Page:
    """Return up to `limit` segments of users whose id comes after `after`, those that match every word given."""
    chosen = _READ.where(segments.c.user_id > after)
    wanted = {"engagement_level": engagement_level, "lifecycle": lifecycle, "churn_level": churn_level}
    for name, word in wanted.items():
        if word is not None:
            chosen = chosen.where(segments.c[name] == word)
    size = min(limit, MAX_LIMIT)
    found = [_segment(row) for row in conn.execute(chosen.order_by(segments.c.user_id).limit(size + 1))]
    return Page(found[:size], found[size - 1].user_id if len(found) > size else None)


def levels(conn: Connection) -> dict[str, int]:
    """Return how many users stand at each engagement level now."""
    rows = conn.execute(sa.select(segments.c.engagement_level, sa.func.count()).group_by(segments.c.engagement_level))
    return {row[0]: row[1] for row in rows}


def _segment(row: sa.Row) -> Segment:
    own = {name: row._mapping[name] for name in _OWN}
    told = {name: row._mapping[column] for name, column in _FORECAST.items()}
    return Segment(**own, ltv_forecast=None if told["expected"] is None else ValueForecast(**told))


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
