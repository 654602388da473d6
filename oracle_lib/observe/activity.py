"""Counts per user and day, and sliding windows over them: incremental, and equal to a full rebuild, row for row.

`rollup` counts exactly the (user, day) pairs that are dirty. `refresh` works the windows out again for users of whom a
day changed that stood already; to those of all others it adds the days that are new, and takes off the days that have
left a window since the last time. A window of n days is `as_of` and the n - 1 days before it.
Test: `tests/unit/test_incremental_equals_rebuild.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY, start_of
from oracle_lib.observe import catalogue
from oracle_lib.observe.habits import habits_expr, new_habits_expr
from oracle_lib.observe.moments import Moments, OneDay, days_between, keep_turns, turn
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import Published, Scope, added, merge, publish, scratch_table
from oracle_lib.storage.relations import relation, scratch
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
from oracle_lib.storage.tables.activity import BITS, BITS_KEPT, EVENT_KINDS, LIFETIME_COUNTS, MONEY, PROGRESS

_JOINED = timedelta(days=7)
_ALL_BITS = 2**BITS - 1
_READ = ("user_id", "event", "session_id", "created_at", "seconds", "amount", "course_id", "lesson_id")
# A history that comes at once lies as it would have, day by day: a window then reads a stretch of the table.
_PAIR = ("day", "user_id")
_AGAIN, _LEARNED, _COUNTED = "counted_again", "learned", "counted_before"
# Users whose first day is a new one begin with nothing, to which that day is added as to everybody's.
_BEGIN = sa.text(
    "WITH unseen AS (INSERT INTO activity (user_id) SELECT DISTINCT user_id FROM user_days d"
    " WHERE day > :before AND day <= :as_of AND NOT EXISTS (SELECT FROM activity a WHERE a.user_id = d.user_id)"
    " AND NOT EXISTS (SELECT FROM counted_again c WHERE c.user_id = d.user_id) ORDER BY user_id RETURNING user_id)"
    " INSERT INTO habits (user_id) SELECT user_id FROM unseen ORDER BY user_id"
)


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

    `everyone` works all users out from `user_days`: the full rebuild, which gives the same rows. Otherwise that is done
    for users of whom a day changed that stood already; for all others what stands is moved on.
    """
    lock(conn, activity.name)
    work = again = queue.take_users(conn, "activity")
    before = queue.stands_for(conn, "activity")
    if everyone or before is None or before > as_of:
        work = again = queue.EVERYONE
    moved = ActivityReport(as_of, users=0, written=0)
    if before is not None and before < as_of and work != queue.EVERYONE:
        scratch_table(conn, _AGAIN, _again(before))
        again = queue.Work(_AGAIN)
        moved = _move(conn, before, as_of)
    counted = _count_again(conn, as_of, again)
    queue.set_stands_for(conn, "activity", as_of, work)
    # A new day moves everybody's distance from what they last did.
    queue.hand_on(conn, "segments", work if before == as_of else queue.EVERYONE)
    return ActivityReport(as_of, moved.users + counted.users, moved.written + counted.written)


def user_days_expr(first: date, end: date, pairs: ibis.Table | None = None) -> ibis.Table:
    """Return the rows of `user_days` for days in [first, end): of `pairs` (user_id, day), or of everybody."""
    # A session at a time first: counting distinct ones would sort every event.
    sitting = _sessions(_events(first, end, pairs))
    return sitting.group_by("user_id", "day").aggregate(
        sessions=_int(sitting.count(where=sitting.session_id.notnull() & (sitting.acted > 0))),
        first_acted_at=sitting.first_acted_at.min(),
        last_acted_at=sitting.last_acted_at.max(),
        **{name: _money(sitting[name].sum()) for name in MONEY},
        **{name: _int(sitting[name].sum()) for name in ("events", "acted", "seconds", "unpriced", *EVENT_KINDS)},
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
    """Return the rows of `activity` but for progress, as they stood at the end of each moment, with it in `as_of`.

    For `users` (user_id) or everybody. The same expression serves the current table, past days, and training rows.
    """
    d = relation(user_days)
    if users is not None:
        d = d.semi_join(users, "user_id")
    d = moments.attach(d, "day")
    rows = d.group_by("as_of", "user_id").aggregate(
        **_of_all_days(d),
        **_windows(d, lambda measure, days: measure.sum(where=d.day > moments.before(d, days))),
        bits=_bits(d, d.acted > 0),
    )
    ago = days_between(rows.last_active_on, rows.as_of)
    since_last = (rows.bits >> ibis.least(ago, BITS_KEPT)) & _ALL_BITS
    return rows.mutate(active_bits=_int(ibis.cases((ago < BITS_KEPT, since_last), else_=0))).drop("bits")


def standing_expr(moments: Moments, users: ibis.Table | None = None) -> ibis.Table:
    """Return the rows of `activity` with progress: `activity_expr` and, where there is one, `progress_expr`."""
    rows, progress = activity_expr(moments, users), progress_expr(moments, users)
    return rows.left_join(progress, ["as_of", "user_id"]).drop("as_of_right", "user_id_right")


def changes_expr(as_of: date, turns: ibis.Table, left_out: ibis.Table) -> ibis.Table:
    """Return what users with a day in `turns` (see `moments.keep_turns`) gain and lose in each column of `activity`.

    New days are added, those that left a window taken off: only these days are read. Progress is that of who completed
    a lesson. The users in `left_out` (user_id) are passed over. Needs the table of `_learned_expr`.
    """
    d = relation(user_days).join(turns, "day").anti_join(left_out, "user_id")
    windows = _windows(d, lambda measure, days: (measure * d[turn(days)]).sum())
    d = OneDay(as_of).attach(d)
    bits = _bits(d, d.is_new & (d.acted > 0))
    changes = d.group_by("user_id").aggregate(**_of_all_days(d, d.is_new), **windows, active_bits=bits)
    learned = scratch(_LEARNED, {"as_of": "date", "user_id": "string", "course_id": "string"})
    progress = _far(OneDay(as_of).attach(relation(user_lessons), "day"), learned).drop("as_of")
    return changes.left_join(progress, "user_id").drop("user_id_right")


def _learned_expr(before: date, as_of: date) -> ibis.Table:
    """Return the course of the newest lesson of users who completed one since `before`: it is among the new ones."""
    done = relation(user_lessons)
    return _newest_course(OneDay(as_of).attach(done.filter(_between(done.day, before, as_of))))


def _bits(d: ibis.Table, counted: ibis.Value) -> ibis.Value:
    """Return the days in `d` that are `counted` as bits, `as_of` the lowest; as many as `active_bits` may need."""
    ago = days_between(d.day, d.as_of)
    near = counted & (ago < BITS_KEPT + BITS)
    return (ibis.literal(1).cast("int64") << ibis.least(ago, BITS_KEPT + BITS)).bit_or(where=near)


def _moved(name: str, as_of: date) -> str:
    """Return what a column of `activity` becomes with what the days between say of it; they are after all others."""
    if name == "active_bits":
        return _moved_bits(as_of)
    if name in PROGRESS:
        return f"CASE WHEN m.course_id IS NULL THEN t.{name} ELSE m.{name} END"
    if name.startswith("first_"):
        return f"COALESCE(t.{name}, m.{name})"
    return f"COALESCE(m.{name}, t.{name})" if name.startswith("last_") else added(name)


def _moved_bits(as_of: date) -> str:
    """Return what `active_bits` becomes: those that stand, shifted up to a newer last active day, and the new ones."""
    gap = "m.last_active_on - t.last_active_on"
    return (
        f"CASE WHEN COALESCE(m.last_active_on, t.last_active_on) <= DATE '{as_of - timedelta(days=BITS_KEPT)}' THEN 0"
        " WHEN m.last_active_on IS NULL THEN t.active_bits"
        f" ELSE (((m.active_bits >> (DATE '{as_of}' - m.last_active_on))"
        f" | CASE WHEN {gap} < {BITS} THEN t.active_bits::bigint << ({gap}) ELSE 0 END) & {_ALL_BITS})::int END"
    )


def _of_all_days(d: ibis.Table, counted: ibis.Value | None = None) -> dict[str, ibis.Value]:
    """Return what a row of `activity` says of all days, in no window: of the days that are `counted`."""

    def where(condition: ibis.Value) -> ibis.Value:
        return condition if counted is None else counted & condition

    return {
        "first_seen_on": d.day.min(where=counted),
        "first_active_on": d.day.min(where=where(d.acted > 0)),
        "last_active_on": d.day.max(where=where(d.acted > 0)),
        "last_active_at": d.last_acted_at.max(where=counted),
        "last_lesson_on": d.day.max(where=where(d.lesson_complete > 0)),
        "last_course_complete_on": d.day.max(where=where(d.course_complete > 0)),
        "revenue": _money(d.revenue.sum(where=counted)),
        "refunds": _money(d.refunds.sum(where=counted)),
        **{f"{name}_total": _int(d[name].sum(where=counted)) for name in LIFETIME_COUNTS},
    }


def _windows(d: ibis.Table, summed: Callable[[ibis.Value, int], ibis.Value]) -> dict[str, ibis.Value]:
    """Return each measure in each of its windows; `summed` gives the sum of a measure over one of so many days."""
    measures = {
        "active_days": (d.acted > 0).cast("int32"),
        "community": d.community_post + d.community_comment,
        **{name: d[name] for name in WINDOWS if name in d.columns},
    }
    return {f"{name}_{days}d": _int(summed(measures[name], days)) for name, kept in WINDOWS.items() for days in kept}


def progress_expr(moments: Moments, users: ibis.Table | None = None) -> ibis.Table:
    """Return, per moment and user who completed a lesson of a course, how far they are in that of the newest one.

    `lessons_in_course` is empty without the course in the catalogue.
    """
    done = relation(user_lessons)
    if users is not None:
        done = done.semi_join(users, "user_id")
    done = moments.attach(done, "day")
    return _far(done, _newest_course(done))


def _newest_course(done: ibis.Table) -> ibis.Table:
    """Return the course of the newest lesson per moment and user of `done`; of several on a day, the first by name."""
    done = done.filter(done.course_id != "")
    per_course = done.group_by("as_of", "user_id", "course_id").aggregate(newest=done.day.max())
    newest_first = [per_course.newest.desc(), per_course.course_id.asc()]
    place = ibis.row_number().over(group_by=["as_of", "user_id"], order_by=newest_first)
    latest = per_course.mutate(place=place)
    return latest.filter(latest.place == 0).select("as_of", "user_id", "course_id")


def _far(done: ibis.Table, courses: ibis.Table) -> ibis.Table:
    """Return how far users are in one of `courses` each, by the lessons in `done` that are of the catalogue."""
    catalogue_ = relation(lessons)
    listed = courses.semi_join(catalogue_, "course_id")
    there = done.semi_join(listed, ["as_of", "user_id", "course_id"])
    known = there.left_join(catalogue_, [there.course_id == catalogue_.course_id, there.lesson_id == catalogue_.id])
    lessons_done = known.lesson_id.nunique(where=known.id.notnull())
    counted = known.group_by("as_of", "user_id").aggregate(lessons_done=lessons_done)
    sizes = catalogue_.group_by("course_id").aggregate(lessons_in_course=_int(catalogue_.count()))
    far = courses.left_join(counted, ["as_of", "user_id"]).drop("as_of_right", "user_id_right")
    far = far.left_join(sizes, "course_id")
    return far.select("as_of", "user_id", "course_id", "lessons_in_course", lessons_done=_int(far.lessons_done))


def _rollup_window(conn: Connection, first: date, end: date) -> int:
    """Publish the rollups of the dirty pairs in [first, end); return how many rows of user_days changed."""
    all_pairs = queue.work_days()
    pairs = all_pairs.filter((all_pairs.day >= first) & (all_pairs.day < end))
    # A day of which nothing was counted has no rows to compare with, in none of the three tables.
    counted = relation(user_days)
    counted = counted.filter((counted.day >= first) & (counted.day < end)).select(*_PAIR)
    scratch_table(conn, _COUNTED, counted.semi_join(pairs, list(_PAIR)))
    scope = Scope(_COUNTED, _PAIR)
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


def _sessions(e: ibis.Table) -> ibis.Table:
    """Count the events of each session on each day; those without a session count as one."""
    acted = e.event.isin(catalogue.ACTED)
    return e.group_by("user_id", "day", "session_id").aggregate(
        events=_int(e.count()),
        acted=_int(e.count(where=acted)),
        seconds=_int(e.seconds.sum()),
        revenue=e.amount.sum(where=e.event.isin(("purchase", "upgrade"))),
        refunds=e.amount.sum(where=e.event == "refund"),
        unpriced=_int(e.count(where=e.amount.isnull() & e.event.isin(catalogue.PRICED))),
        first_acted_at=e.created_at.min(where=acted),
        last_acted_at=e.created_at.max(where=acted),
        **{kind: _int(e.count(where=e.event == kind)) for kind in EVENT_KINDS},
    )


def _again(before: date) -> ibis.Table:
    """Return users whose row does not stand for `before`: an older day of theirs changed, or their profile."""
    w = queue.work_users()
    return w.filter(w.since.isnull() | (w.since <= before)).select("user_id")


def _move(conn: Connection, before: date, as_of: date) -> ActivityReport:
    """Move the rows of all but those in `_AGAIN` from `before` to `as_of`."""
    conn.execute(_BEGIN, {"before": before, "as_of": as_of})
    left_out = scratch(_AGAIN, {"user_id": "string"})
    scratch_table(conn, _LEARNED, _learned_expr(before, as_of))
    changes = changes_expr(as_of, keep_turns(conn, before, as_of), left_out)
    moved = merge(conn, activity, changes, key="user_id", becomes=partial(_moved, as_of=as_of))
    grown = merge(conn, habits, new_habits_expr(OneDay(as_of), before, left_out), key="user_id")
    return ActivityReport(as_of, users=moved, written=moved + grown)


def _count_again(conn: Connection, as_of: date, work: queue.Work) -> ActivityReport:
    """Work the rows of the users in `work` out from all of their days."""
    users = queue.count(conn, work)
    if not users and work != queue.EVERYONE:
        return ActivityReport(as_of, users=0, written=0)
    standing = standing_expr(OneDay(as_of), work.users).drop("as_of")
    habit = habits_expr(OneDay(as_of), work.users).drop("as_of")
    done = publish(conn, activity, standing, key=("user_id",), scope=work.scope)
    formed = publish(conn, habits, habit, key=("user_id",), scope=work.scope)
    return ActivityReport(as_of, users=users, written=done.written + formed.written)


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
