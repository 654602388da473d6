"""Counts per user and day, and sliding windows over them: incremental, and equal to a full rebuild, row for row.

`rollup` counts exactly the (user, day) pairs that are dirty. `refresh` works the windows out again for users whose days
changed, and for users for whom a day has left a window since the last time. A window of n days is `as_of` and the
n - 1 days before it. Test: `tests/unit/test_incremental_equals_rebuild.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY, start_of
from oracle_lib.observe import catalogue
from oracle_lib.observe.habits import habits_expr
from oracle_lib.observe.moments import DISTANCES, Moments, OneDay
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import Published, Scope, overwrite, publish, scratch_table
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables import (
    WINDOWS,
    activity,
    events,
    habits,
    lessons,
    user_day_events,
    user_days,
    user_lessons,
)
from oracle_lib.storage.tables.activity import EVENT_KINDS, HOURS, LIFETIME_COUNTS

_WEEKS = 4
_JOINED = timedelta(days=7)
_CHANGED = "changed_users"
_READ = ("user_id", "event", "session_id", "created_at", "seconds", "amount", "course_id", "lesson_id")
_PAIR = ("user_id", "day")


@dataclass(frozen=True)
class RollupReport:
    """One rollup: (user, day) pairs counted again, the days among them, and rows of `user_days` that changed."""

    pairs: int
    days: int
    written: int


@dataclass(frozen=True)
class ActivityReport:
    """One refresh: the day it stands for, users worked out again, and rows that changed."""

    as_of: date
    users: int
    written: int


def rollup(conn: Connection) -> RollupReport:
    """Count every dirty (user, day) pair again and queue its user for `refresh`. Idempotent: no dirt, no work."""
    lock(conn, "user_days")
    pairs = queue.take_days(conn)
    days = sorted(conn.execute(sa.text("SELECT DISTINCT day FROM work_days")).scalars())
    written = sum(_rollup_window(conn, first, end) for first, end in _runs(days))
    queue.hand_on_days(conn, "activity")
    return RollupReport(pairs=pairs, days=len(days), written=written)


def refresh(conn: Connection, as_of: date, *, everyone: bool = False) -> ActivityReport:
    """Bring `activity` and `habits` to the end of `as_of` and queue the users it touched for the classifier.

    `everyone` works all users out from `user_days`: the full rebuild, which gives the same rows. Progress and habits do
    not move with time, so they are worked out only for users whose days or profile changed.
    """
    lock(conn, activity.name)
    work = queue.take_users(conn, "activity")
    before = queue.stands_for(conn, "activity")
    if everyone or before is None or before > as_of:
        work = queue.EVERYONE
    changed = work if before in (None, as_of) or work == queue.EVERYONE else _add_moved(conn, before, as_of)
    windows = activity_expr(OneDay(as_of), work.users).drop("as_of")
    done = publish(conn, activity, windows, key=("user_id",), scope=work.scope)
    courses = progress_expr(OneDay(as_of), changed.users).drop("as_of")
    progressed = overwrite(conn, activity, courses, key=("user_id",))
    habit = habits_expr(OneDay(as_of), changed.users).drop("as_of")
    formed = publish(conn, habits, habit, key=("user_id",), scope=changed.scope)
    queue.set_stands_for(conn, "activity", as_of, work)
    # A new day moves everybody's distance from what they last did.
    queue.hand_on(conn, "segments", work if before == as_of else queue.EVERYONE)
    return ActivityReport(as_of=as_of, users=done.seen, written=done.written + progressed.written + formed.written)


def user_days_expr(first: date, end: date, pairs: ibis.Table | None = None) -> ibis.Table:
    """Return the rows of `user_days` for days in [first, end): of `pairs` (user_id, day), or of everybody."""
    fine = _counted_fine(_events(first, end, pairs))
    acted = fine.by_user
    money = {
        "revenue": fine.amount.sum(where=fine.event.isin(("purchase", "upgrade"))),
        "refunds": fine.amount.sum(where=fine.event == "refund"),
    }
    return fine.group_by("user_id", "day").aggregate(
        events=_int(fine.n.sum()),
        acted=_int(fine.n.sum(where=acted)),
        sessions=_int(fine.session_id.nunique(where=acted)),
        seconds=_int(fine.seconds.sum()),
        **{name: _money(value) for name, value in money.items()},
        unpriced=_int(fine.unpriced.sum(where=fine.event.isin(catalogue.PRICED))),
        first_acted_at=fine.first_at.min(where=acted),
        last_acted_at=fine.last_at.max(where=acted),
        **{kind: _int(fine.n.sum(where=fine.event == kind)) for kind in EVENT_KINDS},
        **{name: _int(fine.n.sum(where=acted & (fine.hour == hour))) for hour, name in enumerate(HOURS)},
    )


def user_day_events_expr(first: date, end: date, pairs: ibis.Table | None = None) -> ibis.Table:
    """Return the rows of `user_day_events`: events that have no column of their own."""
    e = _events(first, end, pairs)
    other = e.filter(~e.event.isin(EVENT_KINDS))
    return other.group_by("user_id", "day", "event").aggregate(n=_int(other.count()))


def user_lessons_expr(first: date, end: date, pairs: ibis.Table | None = None) -> ibis.Table:
    """Return the rows of `user_lessons`: the distinct lessons completed on a day, where the event named one."""
    e = _events(first, end, pairs)
    done = e.filter((e.event == "lesson_complete") & e.lesson_id.notnull())
    return done.select("user_id", "day", course_id=done.course_id.fill_null(""), lesson_id=done.lesson_id).distinct()


def activity_expr(moments: Moments, users: ibis.Table | None = None) -> ibis.Table:
    """Return the rows of `activity` as they stood at the end of each moment, with it in `as_of`.

    For `users` (user_id) or everybody. The same expression serves the current table, past days, and training rows.
    """
    d = relation(user_days)
    if users is not None:
        d = d.semi_join(users, "user_id")
    d = moments.attach(d, "day")
    acted = d.acted > 0
    measures = {
        "acted": d.acted,
        "active_days": acted.cast("int32"),
        "community": d.community_post + d.community_comment,
        **{name: d[name] for name in WINDOWS if name in d.columns and name != "acted"},
    }
    windows = {
        f"{name}_{days}d": _int(measures[name].sum(where=d.day > moments.before(d, days)))
        for name, kept in WINDOWS.items()
        for days in kept
    }
    weeks = [acted & (d.day > moments.before(d, 7))]
    weeks += [
        acted & (d.day > moments.before(d, 7 * week + 7)) & (d.day <= moments.before(d, 7 * week))
        for week in range(1, _WEEKS)
    ]
    return d.group_by("as_of", "user_id").aggregate(
        first_seen_on=d.day.min(),
        first_active_on=d.day.min(where=acted),
        last_active_on=d.day.max(where=acted),
        last_active_at=d.last_acted_at.max(),
        last_lesson_on=d.day.max(where=d.lesson_complete > 0),
        last_course_complete_on=d.day.max(where=d.course_complete > 0),
        revenue=_money(d.revenue.sum()),
        refunds=_money(d.refunds.sum()),
        **{f"{name}_total": _int(d[name].sum()) for name in LIFETIME_COUNTS},
        **windows,
        active_weeks_4=_int(sum((_int(d.count(where=week)) > 0).cast("int32") for week in weeks)),
    )


def progress_expr(moments: Moments, users: ibis.Table | None = None) -> ibis.Table:
    """Return, per moment and user of `activity_expr`, how far they are in the course of their newest completed lesson.

    `course_id`, `lessons_done` and `lessons_in_course` are empty for a user who completed none.
    """
    d, done = relation(user_days), relation(user_lessons)
    done = done.filter(done.course_id != "")
    if users is not None:
        d, done = d.semi_join(users, "user_id"), done.semi_join(users, "user_id")
    seen = moments.attach(d, "day").select("as_of", "user_id").distinct()
    done = moments.attach(done, "day").select("as_of", "user_id", "day", "course_id", "lesson_id")
    catalogue_ = relation(lessons)
    known = done.left_join(catalogue_, [done.course_id == catalogue_.course_id, done.lesson_id == catalogue_.id])
    per_course = known.group_by("as_of", "user_id", "course_id").aggregate(
        newest=known.day.max(),
        # Only lessons of the catalogue: progress is a share of it.
        lessons_done=_int(known.lesson_id.nunique(where=known.id.notnull())),
    )
    newest_first = [per_course.newest.desc(), per_course.course_id.asc()]
    place = ibis.row_number().over(group_by=["as_of", "user_id"], order_by=newest_first)
    latest = per_course.mutate(place=place)
    latest = latest.filter(latest.place == 0)
    sizes = catalogue_.group_by("course_id").aggregate(lessons_in_course=_int(catalogue_.count()))
    courses = latest.left_join(sizes, "course_id")
    courses = courses.select("as_of", "user_id", "course_id", "lessons_done", "lessons_in_course")
    return seen.left_join(courses, ["as_of", "user_id"]).drop("as_of_right", "user_id_right")


def _rollup_window(conn: Connection, first: date, end: date) -> int:
    """Publish the rollups of the dirty pairs in [first, end); return how many rows of user_days changed."""
    all_pairs = queue.work_days()
    pairs = all_pairs.filter((all_pairs.day >= first) & (all_pairs.day < end))
    scratch_table(conn, "window_days", pairs)
    scope = Scope("window_days", _PAIR)
    done: Published = publish(conn, user_days, user_days_expr(first, end, pairs), key=_PAIR, scope=scope)
    publish(conn, user_day_events, user_day_events_expr(first, end, pairs), key=(*_PAIR, "event"), scope=scope)
    lesson_key = (*_PAIR, "course_id", "lesson_id")
    publish(conn, user_lessons, user_lessons_expr(first, end, pairs), key=lesson_key, scope=scope)
    return done.written


def _events(first: date, end: date, pairs: ibis.Table | None) -> ibis.Table:
    """Return the events of days in [first, end) with their day: every read of events bounds created_at."""
    e = relation(events)
    e = e.filter((e.created_at >= ibis.literal(start_of(first))) & (e.created_at < ibis.literal(start_of(end))))
    e = e.select(*_READ, day=e.created_at.date())
    return e if pairs is None else e.semi_join(pairs, list(_PAIR))


def _counted_fine(e: ibis.Table) -> ibis.Table:
    """Count by event, hour and session first: the wide sums that follow then see far fewer rows."""
    keys = {"hour": e.created_at.hour(), "by_user": e.event.isin(catalogue.ACTED)}
    return e.group_by("user_id", "day", "event", "session_id", **keys).aggregate(
        n=e.count(),
        seconds=e.seconds.sum(),
        amount=e.amount.sum(),
        unpriced=e.count(where=e.amount.isnull()),
        first_at=e.created_at.min(),
        last_at=e.created_at.max(),
    )


def _add_moved(conn: Connection, before: date, as_of: date) -> queue.Work:
    """Add users for whom a day came or left a window since `before` to the work; return those whose days changed."""
    queue.add_moved(conn, _users_between(before, as_of))
    scratch_table(conn, _CHANGED, queue.Work(queue.WORK_USERS).users)
    queue.add_moved(conn, _users_of_moved_days(before, as_of))
    return queue.Work(_CHANGED)


def _users_between(before: date, as_of: date) -> ibis.Table:
    """Return users with a day that had been ahead at `before` and is not at `as_of`."""
    d = relation(user_days)
    return d.filter((d.day > before) & (d.day <= as_of)).select("user_id").distinct()


def _users_of_moved_days(before: date, as_of: date) -> ibis.Table:
    """Return users with a day that was inside a window at `before` and is outside at `as_of`."""
    d = relation(user_days)
    moved = [(d.day > before - timedelta(days=edge)) & (d.day <= as_of - timedelta(days=edge)) for edge in DISTANCES]
    return d.filter(ibis.or_(*moved)).select("user_id").distinct()


def _runs(days: Iterable[date]) -> list[tuple[date, date]]:
    """Cut sorted days into half-open runs, so that each read of events touches few partitions it does not need.

    A few days too many cost less to read than one more statement costs to compose.
    """
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] <= _JOINED:
            runs[-1] = (runs[-1][0], day + DAY)
        else:
            runs.append((day, day + DAY))
    return runs


def _int(value: ibis.Value) -> ibis.Value:
    return value.fill_null(0).cast("int32")


def _money(value: ibis.Value) -> ibis.Value:
    return value.fill_null(0).cast("decimal(12, 2)")
