"""Which users a rule may fire for on which of `run_days`: whoever something has happened to that could be its cause.

A cause is fresh for two days, so most users have none on most days. Who has one still lacks what the conditions need,
if that is an event of the last days and there is none. Only of the others is the state of the past worked out. Nobody
is missed: `firing.py` then says who had a cause indeed.

Who is silent on a day has not been active since the silence began: of rules that wait for that, it is known already
when everybody was active last.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy import ColumnElement

from oracle_lib.decide import firing
from oracle_lib.decide.conditions import ACTIVITY, All, Condition, DaysSince, EventCount, Followed, Leaf
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.past_days import PastDay, run_days
from oracle_lib.observe import catalogue
from oracle_lib.storage.tables import segment_changes, user_day_events, user_days
from oracle_lib.storage.tables.activity import EVENT_KINDS
from oracle_lib.storage.tables.base import Moment

# How many past days are few enough to be looked through for each day that is asked about.
A_GLANCE = 7


def pairs(rule: Definition, days: Sequence[PastDay]) -> sa.Select:
    """Return (user_id, as_of, last_active_on) of those for whom a rule may fire; `days` are those of `run_days`.

    `last_active_on` is None for all of them unless `last_active_is_known`.
    """
    may = _caused(rule, days).subquery()
    last = may.c.began if last_active_is_known(rule) else sa.cast(sa.null(), sa.Date)
    found = sa.select(may.c.user_id, may.c.as_of, last.label("last_active_on"))
    lately = [_lately(may.c.user_id, *asked) for asked in sorted(set(needed(rule.conditions).values()))]
    if lately:
        found = found.join(run_days, run_days.c.as_of == may.c.as_of).where(*lately)
    # They are made distinct last, when few may be left. No two silences last on the same day.
    return found if last_active_is_known(rule) else found.distinct()


def last_active_is_known(rule: Definition) -> bool:
    """Say whether a rule waits until somebody was not active for a day or longer."""
    if rule.trigger != "time_based" or not isinstance(rule.anchor, DaysSince):
        return False
    event, after, _ = firing.threshold(rule)
    return event == ACTIVITY and after > 0


def needed(condition: Condition) -> Mapping[Leaf, tuple[str, int]]:
    """Return the leaves without which a condition never holds, where each asks for an event at most so many days ago.

    `pairs` are asked all of them.
    """
    match condition:
        case All(parts):
            return {leaf: asked for part in parts for leaf, asked in needed(part).items()}
        case DaysSince(event, "<" | "<=" | "=", ago) if ago <= A_GLANCE:
            return {condition: (event, ago)}
        case EventCount(event, int(within), ">=" | "=", count) if within <= A_GLANCE and count > 0:
            return {condition: (event, within - 1)}
    return {}


def _lately(user_id: ColumnElement[str], event: str, ago: int) -> ColumnElement[bool]:
    """Say whether a user did an event up to `ago` days before a day of `run_days`, or on it before its moment."""
    did = _days_of(event)
    day = did.selected_columns.day
    first, last = _ends()
    then = [day >= first - ago, day <= last, day >= run_days.c.as_of - ago, day <= run_days.c.as_of]
    if event == ACTIVITY or event in catalogue.ACTED:
        # Of other events it is not kept when on a day they came: on the asked day itself a few users too many count.
        then.append(sa.or_(day <= run_days.c.whole, user_days.c.first_acted_at < run_days.c.now))
    return did.where(did.selected_columns.user_id == user_id, *then).correlate(run_days, user_id.table).exists()


def _caused(rule: Definition, days: Sequence[PastDay]) -> sa.Select | sa.CompoundSelect:
    match rule.trigger:
        case "event_based":
            return _by_event(sorted(rule.fires_on))
        case "segment_based":
            return _by_segment(sorted(rule.moved_by))
        case _:
            return _by_time(rule, days)


def _by_event(names: list[str]) -> sa.Select:
    did = sa.union_all(*(_days_of(name) for name in names)).subquery()
    fresh = sa.and_(did.c.day > run_days.c.fresh_from, did.c.day <= run_days.c.as_of)
    return sa.select(did.c.user_id, run_days.c.as_of).join(run_days, fresh)


def _by_segment(moved: list[str]) -> sa.Select:
    change = segment_changes.c
    fresh = sa.or_(run_days.c.standing, change.changed_at > run_days.c.fresh_after)
    known = sa.and_(change.changed_at <= run_days.c.written, fresh)
    return sa.select(change.user_id, run_days.c.as_of).join(run_days, known).where(change.field.in_(moved))


def _by_time(rule: Definition, days: Sequence[PastDay]) -> sa.CompoundSelect:
    event, after, _ = firing.threshold(rule)
    anchor = rule.anchor
    did = _days_of(event)
    if not any(day.standing for day in days):
        # A silence that could be crossed freshly began at most so many days before.
        earliest = sa.select(sa.func.min(run_days.c.fresh_from)).scalar_subquery()
        did = did.where(did.selected_columns.day >= earliest - after)
    began = did.subquery()
    if isinstance(anchor, Followed):
        return _unfollowed(anchor, began)
    # On the day that ends it, it may have lasted still when rules were asked.
    end = began.c.first_acted_at if event == ACTIVITY else sa.cast(began.c.day + 1, Moment)
    every = sa.select(
        began.c.user_id,
        began.c.day.label("began"),
        (began.c.day + after).label("crossed"),
        sa.func.lead(end).over(partition_by=began.c.user_id, order_by=began.c.day).label("until"),
    ).subquery()
    return _fresh(sa.select(every).where(_lasts(every.c.until, every.c.crossed)))


def _unfollowed(anchor: Followed, began: sa.Subquery) -> sa.CompoundSelect:
    then = _days_of(anchor.then).subquery()
    in_time = then.c.day < began.c.day + anchor.within_days
    came = sa.exists().where(then.c.user_id == began.c.user_id, then.c.day >= began.c.day, in_time)
    crossed = (began.c.day + anchor.within_days).label("crossed")
    until = sa.cast(began.c.day + anchor.in_last_days, Moment).label("until")
    return _fresh(sa.select(began.c.user_id, began.c.day.label("began"), crossed, until).where(sa.not_(came)))


def _fresh(silences: sa.Select) -> sa.CompoundSelect:
    """Return those asked on the days from the crossing on while it is fresh, and on standing days on any later one.

    `silences` have a user_id, the days on which each `began` and was `crossed`, and the moment `until` which it counts,
    None if it lasts.
    """
    first, last = _ends()
    every = silences.subquery()
    began = sa.select(every).where(every.c.crossed <= last, _lasts(every.c.until, first)).cte("silence")
    after = sa.func.generate_series(0, firing.FRESH.days).table_valued("n", name="after").render_derived()
    still = sa.or_(began.c.until.is_(None), run_days.c.now <= began.c.until)
    soon = sa.and_(run_days.c.as_of == began.c.crossed + after.c.n, sa.not_(run_days.c.standing), still)
    ever = sa.and_(run_days.c.standing, run_days.c.as_of >= began.c.crossed, still)
    pair = sa.select(began.c.user_id, run_days.c.as_of, began.c.began)
    freshly = pair.select_from(began.join(after, sa.true()).join(run_days, soon))
    freshly = freshly.where(began.c.crossed >= first - firing.FRESH.days)
    return sa.union_all(freshly, pair.select_from(began.join(run_days, ever)))


def _lasts(until: ColumnElement[datetime], day: ColumnElement[date]) -> ColumnElement[bool]:
    """Say whether a silence lasts into a day."""
    return sa.or_(until.is_(None), until > sa.cast(day, Moment))


def _ends() -> tuple[sa.ScalarSelect, sa.ScalarSelect]:
    """Return the first and the last of `run_days`."""
    first, last = sa.func.min(run_days.c.as_of), sa.func.max(run_days.c.as_of)
    return sa.select(first).correlate(None).scalar_subquery(), sa.select(last).correlate(None).scalar_subquery()


def _days_of(event: str) -> sa.Select:
    """Return (user_id, day) on which each user did an event, or acted at all, and then `first_acted_at`."""
    if event == ACTIVITY:
        return sa.select(user_days.c.user_id, user_days.c.day, user_days.c.first_acted_at).where(user_days.c.acted > 0)
    if event in EVENT_KINDS:
        return sa.select(user_days.c.user_id, user_days.c.day).where(user_days.c[event] > 0)
    other = user_day_events.c
    return sa.select(other.user_id, other.day).where(other.event == event, other.n > 0)
