"""Segments: who each user is, worked out from what they did, and how that changes.

Engagement follows SPEC section 5 where it speaks; the hole it leaves (joined long ago, active this fortnight, fewer
than two lessons this week) is `moderate` with a score of 30 to 55 by recency and active days. More recent or more
activity never lowers a score. Each field has its sentence in `docs/metrics.md`.
"""

from dataclasses import dataclass
from datetime import date

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze.features import state_expr
from oracle_lib.observe.moments import OneDay
from oracle_lib.settings import Settings
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import History, publish
from oracle_lib.storage.tables import segment_changes, segments

LEVELS = ("lost", "dormant", "moderate", "active", "new")
COUNTED = ("engagement_level", "lifecycle", "value_segment")
# Days of silence, SPEC section 5.
DORMANT_AFTER, LOST_AFTER = 14, 30


@dataclass(frozen=True)
class ClassifyReport:
    """One classification: the day it stands for, users looked at, rows that changed, users by engagement level."""

    as_of: date
    users: int
    written: int
    by_level: dict[str, int]


def classify(conn: Connection, as_of: date, *, settings: Settings, everyone: bool) -> ClassifyReport:
    """Write the segment of every user (or of those who wait) as it stands on `as_of`.

    Needs `activity` to stand for `as_of`. Idempotent; publishes only rows that changed and keeps each change of a level
    in `segment_changes`. Queues the users it looked at for scoring.
    """
    lock(conn, segments.name)
    work = queue.take_users(conn, "segments")
    if everyone or queue.stands_for(conn, "segments") != as_of:
        work = queue.EVERYONE
    done = publish(
        conn,
        segments,
        segment_expr(state_expr(OneDay(as_of), work.users, current=True), settings).drop("as_of"),
        key=("user_id",),
        scope=work.scope,
        history=History(segment_changes, COUNTED, as_of),
    )
    queue.set_stands_for(conn, "segments", as_of)
    queue.hand_on(conn, "predictions", work)
    return ClassifyReport(as_of=as_of, users=done.seen, written=done.written, by_level=_by_level(conn))


def levels_expr(state: ibis.Table, settings: Settings) -> ibis.Table:
    """Return the levels in `COUNTED` of each row of `state` (see `features.levels_state_expr`)."""
    return state.select(
        "as_of",
        "user_id",
        engagement_level=_engagement(state, settings, "level"),
        lifecycle=_lifecycle(state, settings),
        value_segment=_value(state, settings),
    )


def segment_expr(state: ibis.Table, settings: Settings) -> ibis.Table:
    """Return the segment of each row of `state` (see `features.state_expr`): what the classifier publishes."""
    return state.select(
        "as_of",
        "user_id",
        engagement_level=_engagement(state, settings, "level"),
        engagement_score=_engagement(state, settings, "score").cast("int32"),
        lifecycle=_lifecycle(state, settings),
        ltv=_ltv(state),
        value_segment=_value(state, settings),
        progress=_progress(state),
        course_id=state.course_id,
        last_active_on=state.last_active_on,
    )


def _engagement(state: ibis.Table, settings: Settings, what: str) -> ibis.Value:
    """Return the level or the score; one ladder serves both, so that they cannot disagree."""
    recency_points = 15 - state.days_silent
    regularity_points = ibis.least(state.active_days_30d, 10)
    in_between = 30 + recency_points + regularity_points
    ladder = (
        (state.days_silent > LOST_AFTER, "lost", 0),
        (state.days_silent > DORMANT_AFTER, "dormant", 20),
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


def _ltv(state: ibis.Table) -> ibis.Value:
    return (state.revenue - state.refunds).cast("decimal(12, 2)")


def _value(state: ibis.Table, settings: Settings) -> ibis.Value:
    ltv = _ltv(state)
    return ibis.cases((ltv >= settings.value_high, "high"), (ltv >= settings.value_medium, "medium"), else_="low")


def _progress(state: ibis.Table) -> ibis.Value:
    """Return percent of the course's lessons done; unknown without the course in the catalogue."""
    share = state.lessons_done.cast("float64") / state.lessons_in_course.nullif(0)
    return (share * 100).round().cast("int32")


def _by_level(conn: Connection) -> dict[str, int]:
    s = segments.c.engagement_level
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(sa.select(s, sa.func.count()).group_by(s))}
    return {level: found.get(level, 0) for level in LEVELS}
