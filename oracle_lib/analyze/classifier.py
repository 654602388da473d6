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
from oracle_lib.observe import catalogue
from oracle_lib.observe.day_parts import DAY_PARTS
from oracle_lib.observe.moments import OneDay
from oracle_lib.settings import Settings
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import History, publish
from oracle_lib.storage.tables import segment_changes, segments

LEVELS = ("lost", "dormant", "moderate", "active", "new")
COUNTED = ("engagement_level", "lifecycle", "value_segment")
# What a user wants to learn for -> who they are, where no trait says it.
PERSONAS = {
    "career_change": "career_changer",
    "promotion": "professional",
    "certificate": "certificate_seeker",
    "hobby": "hobbyist",
}
STYLES = tuple(catalogue.STYLES.values())
_CHANNELS = {"email": "emails", "dm": "dms", "push": "pushes"}
# Below so much evidence a field is unknown: pieces learned, days of the most usual part, messages on a channel.
STYLE_EVIDENCE, CONTACT_EVIDENCE, CHANNEL_EVIDENCE = 8, 5, 5
# A lead counts when chance would seldom make it: about 1.4 and 1.0 standard deviations.
_CLEAR_VOTES, _CLEAR_RATES = 2, 0.5
# Answer rates are drawn towards 3 of 10 by so many messages.
_ANSWERED, _SENT = 1.5, 5
_MANY = 1_000_000
# Days of silence, SPEC section 5.
DORMANT_AFTER, LOST_AFTER = 14, 30


@dataclass(frozen=True)
class ClassifyReport:
    """One classification: the day it stands for, users looked at, rows that changed, users by engagement level.

    Of everybody, those count as looked at who had joined by that day.
    """

    as_of: date
    users: int
    written: int
    by_level: dict[str, int]


def classify(conn: Connection, as_of: date, *, settings: Settings, everyone: bool) -> ClassifyReport:
    """Write the segment of every user (or of those who wait) as it stands on `as_of`.

    Needs `activity` to stand for `as_of`. Idempotent; publishes only rows that changed and keeps each change of a level
    in `segment_changes` with its cause. Queues the users it looked at for scoring.
    """
    lock(conn, segments.name)
    work = queue.take_users(conn, "segments")
    causes = queue.causes(conn, "segments", as_of, otherwise="settings")
    if everyone or queue.stands_for(conn, "segments") != as_of:
        work = queue.EVERYONE
    rows = segment_expr(state_expr(OneDay(as_of), work.users, current=True), settings).drop("as_of")
    history = History(segment_changes, COUNTED, as_of, causes)
    done = publish(conn, segments, rows, key=("user_id",), scope=work.scope, history=history)
    queue.set_stands_for(conn, "segments", as_of, work)
    queue.hand_on(conn, "predictions", work)
    by_level = _by_level(conn)
    users = sum(by_level.values()) if work == queue.EVERYONE else queue.count(conn, work)
    return ClassifyReport(as_of, users, done.written, by_level)


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
        persona=_persona(state),
        learning_style=_learning_style(state),
        ltv=_ltv(state),
        value_segment=_value(state, settings),
        best_contact_time=_best_contact_time(state),
        best_channel=_best_channel(state),
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


def _persona(state: ibis.Table) -> ibis.Value:
    """Return the persona that was told, or follows from the goal that was told; nobody's acts tell it."""
    by_goal = state.goal_told.cases(*PERSONAS.items(), else_=ibis.null("string"))
    return ibis.coalesce(state.persona_told, by_goal)


def _learning_style(state: ibis.Table) -> ibis.Value:
    """Return the style that was told, or the one of most of what the user learned from, once there is enough of it."""
    counts = [state[style] for style in catalogue.STYLES.values()]
    total = sum(counts[1:], counts[0])
    most = ibis.greatest(*counts)
    clear = (total >= STYLE_EVIDENCE) & (most * 2 >= total)
    lived = _where(clear, {style: state[style] == most for style in STYLES})
    return state.style_told.cases(*((style, style) for style in STYLES), else_=lived)


def _best_contact_time(state: ibis.Table) -> ibis.Value:
    """Return the part of the day in which the user comes clearly more often than in any other."""
    days = {part: state[f"{part}s"] for part in DAY_PARTS}
    most, lead = ibis.greatest(*days.values()), _lead(list(days.values()))
    first_two = sum(days.values()) - ibis.least(*days.values())
    clear = (most >= CONTACT_EVIDENCE) & (lead * lead >= _CLEAR_VOTES * first_two)
    return _where(clear, {part: count == most for part, count in days.items()})


def _best_channel(state: ibis.Table) -> ibis.Value:
    """Return the channel that is answered clearly more often than any other that was tried often enough."""
    sent = {channel: state[f"{plural}_sent"] for channel, plural in _CHANNELS.items()}
    tried = {channel: count >= CHANNEL_EVIDENCE for channel, count in sent.items()}
    rates = {
        channel: ibis.cases(
            (tried[channel], (state[f"{plural}_answered"] + _ANSWERED) / (sent[channel] + _SENT).cast("float64")),
            else_=-1.0,
        )
        for channel, plural in _CHANNELS.items()
    }
    best, lead = ibis.greatest(*rates.values()), _lead(list(rates.values()))
    fewest = ibis.least(*(ibis.cases((tried[channel], sent[channel]), else_=_MANY) for channel in _CHANNELS))
    # Asked of counts before any rate is worked out: most users have not been written to on two channels.
    email, dm, push = tried.values()
    compared = (email & dm) | (email & push) | (dm & push)
    clear = compared & (lead * lead * fewest >= _CLEAR_RATES)
    return _where(clear, {channel: rate == best for channel, rate in rates.items()})


def _where(clear: ibis.Value, words: dict[str, ibis.Value]) -> ibis.Value:
    """Return the first of `words` that holds, where it is `clear`: asked once, since it is long to ask."""
    word = ibis.cases(*((holds, word) for word, holds in words.items()), else_=ibis.null("string"))
    return ibis.cases((clear, word), else_=ibis.null("string"))


def _lead(three: list[ibis.Value]) -> ibis.Value:
    """Return how far the largest of three values is above the second, which is what the other two leave of the sum."""
    return ibis.greatest(*three) * 2 + ibis.least(*three) - (three[0] + three[1] + three[2])


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
