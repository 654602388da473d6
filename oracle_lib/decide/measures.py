"""What conditions ask of a user's days: counts and sums in windows, and last days. Each table is read once for all."""

from dataclasses import replace
from datetime import date, timedelta
from functools import reduce
from operator import or_

import ibis
import sqlalchemy as sa

from oracle_lib.decide.conditions import ACTIVITY
from oracle_lib.decide.layout import Layout
from oracle_lib.storage import tables
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables.activity import EVENT_KINDS, LIFETIME_COUNTS, MONEY, WINDOWS

# Last days that stand in `activity`: nobody's whole history is read for them.
_LAST_KEPT = {
    ACTIVITY: "last_active_on",
    "lesson_complete": "last_lesson_on",
    "course_complete": "last_course_complete_on",
}
# More users than there are. What has a limit, PostgreSQL works out once; otherwise each of the workers that share a
# join adds up the days of all users for itself.
_ALL = 2**40
_EVER = 2**31


def measured(layout: Layout, as_of: date, users: ibis.Table | None, *, standing: bool) -> list[ibis.Table]:
    """Return relations by user_id with the columns of `counts`, `sums` and `lasts`.

    What `activity` keeps is read there: last days always, counts and sums where it is `standing` for `as_of`. Of the
    others, known kinds have columns of their own in `user_days`, other names have rows in `user_day_events`.
    """
    made: list[ibis.Table] = []
    kept = {column: _LAST_KEPT[event] for event, column in layout.lasts.items() if event in _LAST_KEPT}
    if standing:
        kept |= {column: name for window, column in layout.counts.items() if (name := _kept_count(*window))}
        kept |= {column: of for (of, within), column in layout.sums.items() if within is None and of in MONEY}
    if kept:
        made.append(relation(tables.activity).select("user_id", **kept))
    for known, table in ((True, tables.user_days), (False, tables.user_day_events)):
        here = replace(
            layout,
            counts={
                key: column
                for key, column in layout.counts.items()
                if column not in kept and (key[0] in EVENT_KINDS) == known
            },
            sums={key: column for key, column in layout.sums.items() if known and column not in kept},
            lasts={
                event: column
                for event, column in layout.lasts.items()
                if event not in _LAST_KEPT and (event in EVENT_KINDS) == known
            },
        )
        if here.counts or here.sums or here.lasts:
            made.append(_aggregate(table, here, as_of, users))
    return made


def _kept_count(event: str, within_days: int | None) -> str | None:
    """Return the column of `activity` with how often an event came in a window, or ever; None where it keeps none."""
    if event not in EVENT_KINDS:
        return None
    if within_days is None:
        return f"{event}_total" if event in LIFETIME_COUNTS else None
    return f"{event}_{within_days}d" if within_days in WINDOWS.get(event, ()) else None


def days_of(event: str) -> ibis.Table:
    """Return the days (user_id, day) on which each user did an event, known or not."""
    days = relation(tables.user_days if event in EVENT_KINDS else tables.user_day_events)
    return days.filter(_times(days, event) > 0).select("user_id", "day")


def day(value: date) -> ibis.Value:
    """Return a day as a literal."""
    return ibis.date(value.year, value.month, value.day)


def before(as_of: date, days: int) -> ibis.Value:
    """Return the day before a window of so many days begins."""
    return day(as_of - timedelta(days=days))


def _aggregate(table: sa.Table, layout: Layout, as_of: date, users: ibis.Table | None) -> ibis.Table:
    counts, sums, lasts = layout.counts, layout.sums, layout.lasts
    days = relation(table)
    days = days.filter(days.day <= day(as_of))
    windows = [within for _, within in (*counts, *sums)]
    bounds = [within for within in windows if within is not None]
    widest = max(bounds) if not lasts and len(bounds) == len(windows) else None
    if widest is not None:
        days = days.filter(days.day > before(as_of, widest))
    if users is not None:
        days = days.semi_join(users, "user_id")
    days = days.filter(_counting(days, layout, as_of, widest))
    measures: dict[str, ibis.Value] = {}
    for (event, within), column in counts.items():
        measures[column] = _times(days, event).sum(where=_inside(days, as_of, within, widest)).cast("int64")
    for (of, within), column in sums.items():
        measures[column] = days[of].sum(where=_inside(days, as_of, within, widest)).cast("decimal(16, 2)")
    for event, column in lasts.items():
        measures[column] = days.day.max(where=_times(days, event) > 0)
    return days.group_by("user_id").aggregate(**measures).limit(_ALL)


def _counting(days: ibis.Table, layout: Layout, as_of: date, widest: int | None) -> ibis.Value:
    """Say which days add to any of the measures: most bring no money, and many nothing that is asked for."""
    windows: dict[str, list[int]] = {event: [_EVER] for event in layout.lasts}
    for of, within in (*layout.counts, *layout.sums):
        windows.setdefault(of, []).append(within or _EVER)
    parts = []
    for of, asked in windows.items():
        longest = max(asked)
        inside = _inside(days, as_of, None if longest == _EVER else longest, widest)
        some = days.event == ibis.literal(of) if "event" in days.columns else days[of] != 0
        parts.append(some if inside is None else inside & some)
    return reduce(or_, parts)


def _inside(days: ibis.Table, as_of: date, within: int | None, widest: int | None) -> ibis.Value | None:
    """Say which days are in a window; None: all that are read, which are those of the `widest`."""
    return None if within in (None, widest) else days.day > before(as_of, within)


def _times(days: ibis.Table, event: str) -> ibis.Value:
    if "event" in days.columns:
        return ibis.ifelse(days.event == ibis.literal(event), days.n, 0)
    return days[event]
