"""Segments: who each user is, worked out from what they did, and how that changes.

Engagement follows SPEC section 5 where it speaks; the hole it leaves (joined long ago, active this fortnight, fewer
than two lessons this week) is `moderate` with a score of 30 to 55 by recency and active days. More recent or more
activity never lowers a score. Each field has its sentence in `docs/metrics.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze.features import state_expr
from oracle_lib.observe.moments import OneDay, keep
from oracle_lib.settings import Settings
from oracle_lib.storage import queue
from oracle_lib.storage.publish import History, Scope, lock, publish, run, scanning
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables import segment_changes, segment_counts, segments, users

LEVELS = ("lost", "dormant", "moderate", "active", "new")
COUNTED = ("engagement_level", "lifecycle", "value_segment")
# Bounds what a statement of a long backfill sorts in memory.
_DAYS_A_STATEMENT = 60


@dataclass(frozen=True)
class ClassifyReport:
    """One classification: the day it stands for, users looked at, rows that changed, users by engagement level."""

    as_of: date
    users: int
    written: int
    by_level: dict[str, int]


@dataclass(frozen=True)
class CountReport:
    """Counts of past days: the days, and rows of `segment_counts` that changed."""

    days: int
    written: int


def classify(conn: Connection, as_of: date, *, settings: Settings, everyone: bool) -> ClassifyReport:
    """Write the segment of every user (or of those who wait) as it stands on `as_of`.

    Needs `activity` to stand for `as_of`. Idempotent; publishes only rows that changed and keeps each change of a level
    in `segment_changes`. Queues the users it looked at for scoring.
    """
    lock(conn, segments.name)
    queue.take_users(conn, "segments")
    if everyone or queue.stands_for(conn, "segments") != as_of:
        queue.add_users(conn, relation(users).select(user_id="id"))
    done = publish(
        conn,
        segments,
        segment_expr(state_expr(OneDay(as_of), queue.work_users(), current=True), settings).drop("as_of"),
        key=("user_id",),
        scope=Scope(queue.WORK_USERS),
        history=History(segment_changes, COUNTED, as_of),
    )
    queue.set_stands_for(conn, "segments", as_of)
    queue.hand_on(conn, "predictions")
    return ClassifyReport(as_of=as_of, users=done.seen, written=done.written, by_level=_by_level(conn))


def count(conn: Connection, days: Sequence[date], *, settings: Settings) -> CountReport:
    """Write how many users there were of each kind at the end of each of `days`, as it stood then. Idempotent."""
    lock(conn, segment_counts.name)
    written = 0
    for first in range(0, len(days), _DAYS_A_STATEMENT):
        moments = keep(conn, days[first : first + _DAYS_A_STATEMENT])
        run(conn, "CREATE OR REPLACE TEMPORARY VIEW counted_days AS SELECT as_of AS day FROM moments")
        with scanning(conn):
            done = publish(
                conn,
                segment_counts,
                counts_expr(segment_expr(state_expr(moments), settings)),
                key=("day", "field", "value"),
                scope=Scope("counted_days", ("day",)),
            )
        run(conn, "DROP VIEW counted_days")
        written += done.written
    return CountReport(days=len(days), written=written)


def segment_expr(state: ibis.Table, settings: Settings) -> ibis.Table:
    """Return the segment of each row of `state` (see `features.state_expr`): what the classifier publishes."""
    ltv = (state.revenue - state.refunds).cast("decimal(12, 2)")
    return state.select(
        "as_of",
        "user_id",
        engagement_level=_engagement(state, settings, "level"),
        engagement_score=_engagement(state, settings, "score").cast("int32"),
        lifecycle=_lifecycle(state, settings),
        ltv=ltv,
        value_segment=ibis.cases(
            (ltv >= settings.value_high, "high"), (ltv >= settings.value_medium, "medium"), else_="low"
        ),
        progress=_progress(state),
        course_id=state.course_id,
        last_active_on=state.last_active_on,
    )


def counts_expr(rows: ibis.Table) -> ibis.Table:
    """Return users of `rows` by moment, counted field and value, as rows of `segment_counts`."""
    together = rows.group_by("as_of", *COUNTED).aggregate(users=rows.count())
    parts = [
        together.group_by(day=together.as_of, value=together[field])
        .aggregate(users=together.users.sum().cast("int32"))
        .select("day", "value", "users", field=ibis.literal(field))
        for field in COUNTED
    ]
    return ibis.union(*parts)


def _engagement(state: ibis.Table, settings: Settings, what: str) -> ibis.Value:
    """Return the level or the score; one ladder serves both, so that they cannot disagree."""
    recency_points = 15 - state.days_silent
    regularity_points = ibis.least(state.active_days_30d, 10)
    in_between = 30 + recency_points + regularity_points
    ladder = (
        (state.days_silent > 30, "lost", 0),
        (state.days_silent > 14, "dormant", 20),
        (state.lesson_complete_7d >= 5, "active", 90),
        (state.lesson_complete_7d >= 2, "moderate", 60),
        (state.days_joined < settings.new_days, "new", 50),
    )
    if what == "level":
        return ibis.cases(*((step, level) for step, level, _ in ladder), else_="moderate")
    return ibis.cases(*((step, score) for step, _, score in ladder), else_=in_between)


def _lifecycle(state: ibis.Table, settings: Settings) -> ibis.Value:
    graduated = state.course_complete_total > 0
    return ibis.cases(
        (graduated & (state.days_silent >= settings.alumni_days), "alumni"),
        (graduated, "graduate"),
        (state.lesson_complete_total == 0, "lead"),
        (state.days_joined < settings.new_days, "new"),
        (state.active_weeks_4 >= 3, "engaged"),
        else_="active",
    )


def _progress(state: ibis.Table) -> ibis.Value:
    """Return percent of the course's lessons done; unknown without the course in the catalogue."""
    share = state.lessons_done.cast("float64") / state.lessons_in_course.nullif(0)
    return (share * 100).round().cast("int32")


def _by_level(conn: Connection) -> dict[str, int]:
    s = segments.c.engagement_level
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(sa.select(s, sa.func.count()).group_by(s))}
    return {level: found.get(level, 0) for level in LEVELS}
