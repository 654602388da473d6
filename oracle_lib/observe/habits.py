"""What a user's days say of their habits: when they come, on which channel they answer, in which form they learn.

Counts over all kept days. They do not move with time, so they are worked out only for users whose days or profile
changed; new days are added to them. A vote for a part of the day is a day's first own act, on the user's own clock:
acts of one day are not independent. A zone's distance from UTC is its mean over the year, so that summer time changes
nothing that was counted.
"""

from collections import defaultdict
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import ibis

from oracle_lib.observe import catalogue
from oracle_lib.observe.day_parts import DAY_PARTS
from oracle_lib.observe.moments import Moments
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables import user_day_events, user_days, users

_DAY_MINUTES = 24 * 60


def habits_expr(moments: Moments, only: ibis.Table | None = None) -> ibis.Table:
    """Return the rows of `habits` as they stood at the end of each moment, with it in `as_of`; of `only` (user_id)."""
    d, other = relation(user_days), relation(user_day_events)
    if only is not None:
        d, other = d.semi_join(only, "user_id"), other.semi_join(only, "user_id")
    return _counted(moments, d, other)


def new_habits_expr(moments: Moments, before: date, left_out: ibis.Table) -> ibis.Table:
    """Return what days after `before` add to the rows of `habits`; those of users in `left_out` are passed over."""
    d, other = relation(user_days), relation(user_day_events)
    d, other = d.filter(d.day > before).anti_join(left_out, "user_id"), other.filter(other.day > before)
    return _counted(moments, d, other).drop("as_of")


def _counted(moments: Moments, d: ibis.Table, other: ibis.Table) -> ibis.Table:
    """Return the habits of users in `d`, rows of `user_days`; `other` are such of `user_day_events`."""
    d = moments.attach(d, "day").left_join(_clocks(), "user_id")
    clock = (d.first_acted_at.epoch_seconds() // 60 + d.away) % _DAY_MINUTES
    kept = d.group_by("as_of", "user_id").aggregate(
        **{
            f"{part}s": _int(d.count(where=(clock >= first * 60) & (clock < end * 60)))
            for part, (first, end) in DAY_PARTS.items()
        },
        emails_sent=_int(d.email_sent.sum()),
        emails_answered=_int(d.count(where=d.email_open + d.email_click > 0)),
        dms_sent=_int(d.dm_sent.sum()),
        dms_answered=_int(d.count(where=d.dm_read > 0)),
    )
    other = moments.attach(other, "day")
    named = other.group_by("as_of", "user_id").aggregate(
        pushes_sent=_int(other.n.sum(where=other.event == "push_sent")),
        pushes_answered=_int(other.count(where=other.event == "push_open")),
        **{style: _int(other.n.sum(where=other.event == name)) for name, style in catalogue.STYLES.items()},
    )
    both = kept.left_join(named, ["as_of", "user_id"]).drop("as_of_right", "user_id_right")
    return both.mutate(**{name: _int(both[name]) for name in named.columns if name not in ("as_of", "user_id")})


@lru_cache
def _clocks() -> ibis.Table:
    """Return how far each user's clock is `away` from UTC. Hundreds of names of zones: composed once a process."""
    people = relation(users)
    return people.select(user_id=people.id, away=_minutes_from_utc(people.time_zone))


def _minutes_from_utc(zone: ibis.Value) -> ibis.Value:
    """Return the distance of a zone from UTC in minutes; unknown for one that nobody knows."""
    return ibis.cases(
        *((zone.isin(names), ibis.literal(minutes)) for minutes, names in _zones().items()), else_=ibis.null("int32")
    )


@lru_cache
def _zones() -> dict[int, tuple[str, ...]]:
    """Return the names of all zones by their mean distance from UTC."""
    found: dict[int, list[str]] = defaultdict(list)
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        distances = [datetime(2026, month, 1, 12, tzinfo=zone).utcoffset() for month in (1, 7)]
        found[round(sum(one.total_seconds() for one in distances if one) / len(distances) / 60)].append(name)
    return {minutes: tuple(names) for minutes, names in found.items()}


def _int(value: ibis.Value) -> ibis.Value:
    return value.fill_null(0).cast("int32")
