"""How many users of each kind there were at the end of past days: `segment_counts`.

A user's levels move only on a turning point: a day that brings them something, a day on which an earlier one leaves a
window or passes a threshold, the day they joined. Many days are counted from the state at turning points, each of which
stands until the next; the same expression gives that state as gives today's. Test: `tests/unit/test_counting.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import ibis
from sqlalchemy import Connection

from oracle_lib.analyze.classifier import COUNTED, DORMANT_AFTER, LOST_AFTER, levels_expr
from oracle_lib.analyze.features import levels_state_expr
from oracle_lib.observe.moments import Moments, OneDay, keep_of_users
from oracle_lib.settings import Settings
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import Scope, publish, scanning, scratch_table
from oracle_lib.storage.relations import relation, scratch
from oracle_lib.storage.tables import segment_counts, user_days, users

_DAYS = "counted_days"
# The windows that levels look at: lessons of a week, and four weeks with or without activity.
_WINDOWS = (7, 14, 21, 28)
# Bounds what a statement of a long backfill sorts in memory.
_DAYS_A_STATEMENT = 120


@dataclass(frozen=True)
class CountReport:
    """Counts of past days: the days, and rows of `segment_counts` that changed."""

    days: int
    written: int


def count(conn: Connection, days: Sequence[date], *, settings: Settings) -> CountReport:
    """Write how many users there were of each kind at the end of each of `days`, as it stood then. Idempotent."""
    lock(conn, segment_counts.name)
    written = 0
    for first in range(0, len(days), _DAYS_A_STATEMENT):
        some = list(days[first : first + _DAYS_A_STATEMENT])
        scratch_table(conn, _DAYS, ibis.array(some).unnest().name("day").as_table())
        with scanning(conn):
            counted = _of_one(some[0], settings) if len(some) == 1 else _of_many(conn, some, settings)
            done = publish(
                conn, segment_counts, _by_field(counted), key=("day", "field", "value"), scope=Scope(_DAYS, ("day",))
            )
        written += done.written
    return CountReport(days=len(days), written=written)


def turning_points(first: date, last: date, settings: Settings) -> ibis.Table:
    """Return (user_id, as_of) of each day from `first` to `last` on which a user's levels may move, and `first`."""
    people, acts = relation(users), relation(user_days)
    everyone = people.select(user_id=people.id, as_of=ibis.literal(first))
    known_since = ibis.union(
        people.select(user_id=people.id, day=people.joined_at.date()),
        people.select(user_id=people.id, day=people.created_at.date()),
    )
    thresholds = {DORMANT_AFTER + 1, LOST_AFTER + 1, settings.new_days, settings.alumni_days}
    # Whoever never acted is silent since the profile is there.
    later = [_shifted(known_since, days, first, last) for days in sorted({0, *thresholds})]
    later += [_shifted(acts, days, first, last) for days in sorted({0, *_WINDOWS, *thresholds})]
    return ibis.union(everyone, *later, distinct=True)


def _of_one(day: date, settings: Settings) -> ibis.Table:
    """Return users of one day by the levels together."""
    levels = _levels(OneDay(day), settings)
    return levels.group_by(*COUNTED, day=levels.as_of).aggregate(users=levels.count())


def _of_many(conn: Connection, days: Sequence[date], settings: Settings) -> ibis.Table:
    """Return users of each day by the levels together: a state counts on each day until the user's next one."""
    first, last = min(days), max(days)
    levels = _levels(keep_of_users(conn, turning_points(first, last, settings)), settings)
    following = levels.as_of.lead().over(group_by=levels.user_id, order_by=levels.as_of)
    levels = levels.mutate(until=ibis.coalesce(following, ibis.literal(last + timedelta(days=1))))
    alike = levels.group_by("as_of", "until", *COUNTED).aggregate(users=levels.count())
    wanted = scratch(_DAYS, {"day": "date"})
    standing = alike.join(wanted, [alike.as_of <= wanted.day, alike.until > wanted.day])
    return standing.group_by("day", *COUNTED).aggregate(users=standing.users.sum())


def _levels(moments: Moments, settings: Settings) -> ibis.Table:
    return levels_expr(levels_state_expr(moments), settings)


def _by_field(together: ibis.Table) -> ibis.Table:
    """Return users by day, counted field and value, as rows of `segment_counts`."""
    parts = [
        together.group_by("day", value=together[field])
        .aggregate(users=together.users.sum().cast("int32"))
        .select("day", "value", "users", field=ibis.literal(field))
        for field in COUNTED
    ]
    return ibis.union(*parts)


def _shifted(rows: ibis.Table, days: int, first: date, last: date) -> ibis.Table:
    """Return (user_id, as_of) with the column `day` of `rows` moved by `days`, where that is from `first` to `last`."""
    moved = timedelta(days=days)
    inside = rows.filter((rows.day >= first - moved) & (rows.day <= last - moved))
    return inside.select("user_id", as_of=(inside.day + ibis.interval(days=days)).cast("date"))
