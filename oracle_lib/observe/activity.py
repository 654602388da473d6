"""Counts per user and day, and sliding windows over them: incremental, and equal to a full rebuild, row for row.

`rollup` counts exactly the (user, day) pairs that are dirty. `refresh` works the windows out again for users whose days
changed, and takes the days that have left a window since the last time off those of all others. A window of n days is
`as_of` and the n - 1 days before it. Test: `tests/unit/test_incremental_equals_rebuild.py`.
"""

from collections.abc import Callable, Iterable
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

_JOINED = timedelta(days=7)
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
    moved = Published(0, 0, 0, 0)
    if before is not None and before < as_of and work != queue.EVERYONE:
        queue.add_moved(conn, _users_between(before, as_of))
        moved = overwrite(conn, activity, moved_expr(before, as_of, work.users), key=("user_id",))
    windows = activity_expr(OneDay(as_of), work.users).drop("as_of")
    done = publish(conn, activity, windows, key=("user_id",), scope=work.scope)
    courses = progress_expr(OneDay(as_of), work.users).drop("as_of")
    progressed = overwrite(conn, activity, courses, key=("user_id",))
    habit = habits_expr(OneDay(as_of), work.users).drop("as_of")
    formed = publish(conn, habits, habit, key=("user_id",), scope=work.scope)
    queue.set_stands_for(conn, "activity", as_of, work)
    # A new day moves everybody's distance from what they last did.
    queue.hand_on(conn, "segments", work if before == as_of else queue.EVERYONE)
    written = sum(one.written for one in (moved, done, progressed, formed))
    return ActivityReport(as_of=as_of, users=moved.seen + done.seen, written=written)


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
    windows = _windows(d, lambda days: d.day > moments.before(d, days))
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
    )


def moved_expr(before: date, as_of: date, changed: ibis.Table | None) -> ibis.Table:
    """Return the windows at `as_of` of users for whom a day has left one since `before`, and nothing else happened.

    Out of `activity` as it stands for `before`, less the days that left: only those are read. Users in `changed`
    (user_id) are left out. Everything else in a row is of all days, and does not move with time.
    """
    d = relation(user_days)

    def left(days: int) -> ibis.Value:
        return _between(d.day, before - timedelta(days=days), as_of - timedelta(days=days))

    d = d.filter(ibis.or_(*map(left, DISTANCES)))
    if changed is not None:
        d = d.anti_join(changed, "user_id")
    gone = d.group_by("user_id").aggregate(**_windows(d, left))
    stands = relation(activity).join(gone, "user_id", rname="gone_{name}")
    windows = [name for name in gone.columns if name != "user_id"]
    return stands.select("user_id", **{name: stands[name] - stands[f"gone_{name}"] for name in windows})


def _windows(d: ibis.Table, inside: Callable[[int], ibis.Value]) -> dict[str, ibis.Value]:
    """Return the sum of each measure over each of its windows; `inside` says which rows one of so many days has."""
    measures = {
        "active_days": (d.acted > 0).cast("int32"),
        "community": d.community_post + d.community_comment,
        **{name: d[name] for name in WINDOWS if name in d.columns},
    }
    return {
        f"{name}_{days}d": _int(measures[name].sum(where=inside(days)))
        for name, kept in WINDOWS.items()
        for days in kept
    }


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


def _users_between(before: date, as_of: date) -> ibis.Table:
    """Return users with a day that had been ahead at `before` and is not at `as_of`."""
    d = relation(user_days)
    return d.filter((d.day > before) & (d.day <= as_of)).select("user_id").distinct()


def _between(day: ibis.Value, after: date, until: date) -> ibis.Value:
    return (day > after) & (day <= until)


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
