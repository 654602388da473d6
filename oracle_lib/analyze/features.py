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

# A user who never acted is as silent as their profile is old; the day they joined counts as the last sign of life.
_SECONDS_A_DAY = 86400.0
_EPOCH = date(1970, 1, 1)
_KEY = ("as_of", "user_id")


def state_expr(moments: Moments, only: ibis.Table | None = None, *, current: bool = False) -> ibis.Table:
    """Return one row a moment and user who had joined by its end: activity and what follows from it.

    Adds to the columns of `activity` and `habits`: `as_of`, `joined_on`; `traits` as they are now; `days_joined` and
    `days_silent` in whole days; `recency`, the time since the last own act in days, with its fraction;
    `active_weeks_4`, how many of the last four weeks, each of seven days, had an active one. `current` reads
    the two tables, which must stand for the one moment; otherwise everything is worked out from `user_days`. `only`
    (user_id) limits the users.
    """
    if current:
        return _state(moments, only, [moments.attach(relation(table)) for table in (activity, habits)])
    parts = [activity_expr(moments, only), progress_expr(moments, only), habits_expr(moments, only)]
    return _state(moments, only, parts)


def levels_state_expr(moments: Moments, only: ibis.Table | None = None) -> ibis.Table:
    """Return `state_expr` as far as levels and silence go: without progress and habits, which cost as much again."""
    return _state(moments, only, [activity_expr(moments, only)])


def _state(moments: Moments, only: ibis.Table | None, parts: Sequence[ibis.Table]) -> ibis.Table:
    people = relation(users)
    people = people.select(
        user_id=people.id,
        profile_joined_on=people.joined_at.date(),
        profile_made_on=people.created_at.date(),
        traits=people.traits,
    )
    if only is not None:
        people = people.semi_join(only, "user_id")
    people = moments.attach(people).select(*_KEY, "traits", "profile_joined_on", "profile_made_on")
    wide = _joined(people, parts)
    known = [name for part in parts for name in part.columns if name not in _KEY]
    state = wide.select(
        *_KEY,
        "traits",
        joined_on=ibis.coalesce(wide.profile_joined_on, wide.first_seen_on, wide.profile_made_on),
        **{name: wide[name].fill_null(0) if name in _COUNTS else wide[name] for name in known},
    )
    state = state.filter(state.joined_on <= state.as_of)
    seen_on = ibis.coalesce(state.last_active_on, state.joined_on)
    last_act = ibis.coalesce(state.last_active_at.epoch_seconds().cast("float64"), _epoch(state.joined_on))
    return state.mutate(
        active_weeks_4=_active_weeks(state),
        days_joined=days_between(state.joined_on, state.as_of),
        days_silent=days_between(seen_on, state.as_of),
        recency=(_epoch(state.as_of) + _SECONDS_A_DAY - last_act) / _SECONDS_A_DAY,
    )


def _joined(people: ibis.Table, parts: Sequence[ibis.Table]) -> ibis.Table:
    """Join in one chain: a selection after each join would write every column again."""
    for number, part in enumerate(parts):
        people = people.left_join(part, list(_KEY), rname=f"{{name}}_of_{number}")
    return people


def _active_weeks(state: ibis.Table) -> ibis.Value:
    ago = ibis.least(days_between(state.last_active_on, state.as_of).fill_null(0), BITS_KEPT)
    # The lowest bit is `as_of` then.
    days = state.active_bits.cast("int64") << ago
    return sum(((days & (0b111_1111 << 7 * week)) > 0).cast("int32") for week in range(BITS // 7))


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
