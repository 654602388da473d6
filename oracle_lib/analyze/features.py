"""The one definition of every number that segments, predictions and rules stand on.

Everything is an expression of a user's state at the end of a day: the current day, a past one (backfill, dry run) or
the many past days a model is trained on. Nothing here can see beyond `as_of`.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import ibis

from oracle_lib.observe.activity import activity_expr, progress_expr
from oracle_lib.observe.habits import habits_expr
from oracle_lib.observe.moments import Moments, days_between
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables import activity, habits, user_days, users
from oracle_lib.storage.tables.activity import BITS, BITS_KEPT
from oracle_lib.storage.tables.users import TOLD

# A user who never acted is as silent as their profile is old; the day they joined counts as the last sign of life.
_SECONDS_A_DAY = 86400.0
_EPOCH = date(1970, 1, 1)
_KEY = ("as_of", "user_id")


def state_expr(moments: Moments, only: ibis.Table | None = None, *, current: bool = False) -> ibis.Table:
    """Return one row a moment and user who had joined by its end: activity and what follows from it.

    Adds to the columns of `activity` and `habits`: `as_of`, `joined_on`; what the profile tells now; `days_joined` and
    `days_silent` in whole days; `recency`, the time since the last own act in days, with its fraction;
    `active_weeks_4`, how many of the last four weeks, each of seven days, had an active one. `current` reads
    the two tables, which must stand for the one moment; otherwise everything is worked out from `user_days`. `only`
    (user_id) limits the users.
    """
    if current:
        return _state(moments, only, [relation(activity), relation(habits)], by=("user_id",))
    parts = [activity_expr(moments, only), progress_expr(moments, only), habits_expr(moments, only)]
    return _state(moments, only, parts)


def levels_state_expr(moments: Moments, only: ibis.Table | None = None) -> ibis.Table:
    """Return `state_expr` as far as levels and silence go: without progress and habits, which cost as much again."""
    return _state(moments, only, [activity_expr(moments, only)])


def _state(
    moments: Moments, only: ibis.Table | None, parts: Sequence[ibis.Table], *, by: Sequence[str] = _KEY
) -> ibis.Table:
    """Join what is known `by` moment and user; all of it in one selection, since each writes every column again."""
    people = relation(users)
    people = people.select(*TOLD, user_id=people.id, profile_joined_on=people.joined_on, made_on=people.made_on)
    if only is not None:
        people = people.semi_join(only, "user_id")
    wide = moments.attach(people)
    for number, part in enumerate(parts):
        wide = wide.left_join(part, list(by), rname=f"{{name}}_of_{number}")
    names = [name for part in parts for name in part.columns if name not in _KEY]
    known = {name: wide[name].fill_null(0) if name in _COUNTS else wide[name] for name in names}
    joined_on = ibis.coalesce(wide.profile_joined_on, known["first_seen_on"], wide.made_on)
    ago = days_between(known["last_active_on"], wide.as_of)
    last_act = ibis.coalesce(known["last_active_at"].epoch_seconds().cast("float64"), _epoch(joined_on))
    state = wide.select(
        *_KEY,
        *TOLD,
        **known,
        joined_on=joined_on,
        active_weeks_4=_active_weeks(known["active_bits"], ago),
        days_joined=days_between(joined_on, wide.as_of),
        days_silent=days_between(ibis.coalesce(known["last_active_on"], joined_on), wide.as_of),
        recency=(_epoch(wide.as_of) + _SECONDS_A_DAY - last_act) / _SECONDS_A_DAY,
    )
    return state.filter(state.joined_on <= state.as_of)


def _active_weeks(bits: ibis.Value, ago: ibis.Value) -> ibis.Value:
    """Return in how many of four weeks a bit is set; the lowest is the last active day, so many days ago."""
    # The days of a week are moved to the bits, which costs less than the other way.
    weeks = (ibis.literal(0b111_1111 << 7 * week).cast("int32") for week in range(BITS // 7))
    return sum(((bits & (week >> ibis.least(ago, BITS_KEPT))) > 0).cast("int32") for week in weeks)


def happened_between_expr(moments: Moments, horizon: timedelta, column: str) -> ibis.Table:
    """Return (as_of, user_id) where a column of `user_days` counts anything in the horizon after a moment."""
    d = relation(user_days)
    d = d.filter(d[column] > 0).select("user_id", "day")
    seen = moments.attach(d)
    after = (seen.day > seen.as_of) & (days_between(seen.as_of, seen.day) <= horizon.days)
    return seen.filter(after).select("as_of", "user_id").distinct()


def _epoch(day: ibis.Value) -> ibis.Value:
    return days_between(ibis.literal(_EPOCH), day).cast("float64") * _SECONDS_A_DAY


# Counts are unknown for a user without any event only in the sense that they are zero.
_COUNTS = tuple(
    column.name for table in (activity, habits) for column in table.columns if column.server_default is not None
)
