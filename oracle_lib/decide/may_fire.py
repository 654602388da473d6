"""Which users a rule may fire for on which of `run_days`: whoever something has happened to that could be its cause.

A cause is fresh for two days, so most users have none on most days, and only of the others is the state of the past
worked out. Nobody is missed: `firing.py` then says who had a cause indeed.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import ColumnElement

from oracle_lib.decide import firing
from oracle_lib.decide.conditions import ACTIVITY, DaysSince, Followed
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.past_days import PastDay, run_days
from oracle_lib.storage.tables import segment_changes, user_day_events, user_days
from oracle_lib.storage.tables.activity import EVENT_KINDS


def pairs(rule: Definition, days: Sequence[PastDay]) -> sa.Select | sa.CompoundSelect:
    """Return (user_id, as_of) of those for whom a rule may have a cause; `days` are those of `run_days`."""
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
    return sa.select(did.c.user_id, run_days.c.as_of).join(run_days, fresh).distinct()


def _by_segment(moved: list[str]) -> sa.Select:
    change = segment_changes.c
    fresh = sa.or_(run_days.c.standing, change.changed_at > run_days.c.fresh_after)
    known = sa.and_(change.changed_at <= run_days.c.written, fresh)
    return sa.select(change.user_id, run_days.c.as_of).join(run_days, known).where(change.field.in_(moved)).distinct()


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
    assert isinstance(anchor, DaysSince)  # noqa: S101
    following = sa.func.lead(began.c.day).over(partition_by=began.c.user_id, order_by=began.c.day)
    every = sa.select(began.c.user_id, began.c.day, following.label("following")).subquery()
    lasting = sa.or_(every.c.following.is_(None), every.c.following >= every.c.day + after)
    silence = sa.select(every).where(lasting).cte("silence")
    crossed = silence.c.day + after
    # On the day that ends it, it may have lasted still when rules were asked.
    still = sa.or_(silence.c.following.is_(None), run_days.c.as_of <= silence.c.following)
    return _fresh(silence, crossed, still)


def _unfollowed(anchor: Followed, began: sa.Subquery) -> sa.CompoundSelect:
    then = _days_of(anchor.then).subquery()
    in_time = then.c.day < began.c.day + anchor.within_days
    came = sa.exists().where(then.c.user_id == began.c.user_id, then.c.day >= began.c.day, in_time)
    unfollowed = sa.select(began).where(sa.not_(came)).cte("unfollowed")
    crossed = unfollowed.c.day + anchor.within_days
    return _fresh(unfollowed, crossed, run_days.c.as_of < unfollowed.c.day + anchor.in_last_days)


def _fresh(began: sa.CTE, crossed: ColumnElement, still: ColumnElement[bool]) -> sa.CompoundSelect:
    """Return those asked on the days from the crossing on while it is fresh, and on standing days on any later one."""
    after = sa.func.generate_series(0, firing.FRESH.days).table_valued("n", name="after").render_derived()
    earliest = sa.select(sa.func.min(run_days.c.fresh_from)).scalar_subquery()
    latest = sa.select(sa.func.max(run_days.c.as_of)).scalar_subquery()
    soon = sa.and_(run_days.c.as_of == crossed + after.c.n, crossed >= earliest, crossed <= latest, still)
    ever = sa.and_(run_days.c.standing, run_days.c.as_of >= crossed, still)
    pair = sa.select(began.c.user_id, run_days.c.as_of)
    freshly = pair.select_from(began.join(after, sa.true()).join(run_days, soon))
    return sa.union(freshly, pair.select_from(began.join(run_days, ever)))


def _days_of(event: str) -> sa.Select:
    """Return (user_id, day) on which each user did an event, or acted at all."""
    if event == ACTIVITY:
        return sa.select(user_days.c.user_id, user_days.c.day).where(user_days.c.acted > 0)
    if event in EVENT_KINDS:
        return sa.select(user_days.c.user_id, user_days.c.day).where(user_days.c[event] > 0)
    other = user_day_events.c
    return sa.select(other.user_id, other.day).where(other.event == event, other.n > 0)
