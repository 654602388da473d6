"""Is what was worked out fit to act on? Asked before anything is proposed; one failed finding holds every proposal.

A proposal made on a broken feed or a half-written table reaches a person. Silence of a source looks exactly like a
thousand people giving up, so a feed that stopped is found here first.
"""

from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze.findings import Finding
from oracle_lib.clock import DAY
from oracle_lib.storage.tables import dirty_user_days, predictions, segments, user_days, users

# A feed with at least so many events on each day of its last week is one whose silence is a fault.
BUSY_EVENTS = 20
# A source silent for longer has ended (imported history, a closed academy): there is nothing to wait for.
ENDED_AFTER = timedelta(days=30)
_PATIENCE = timedelta(minutes=5)


QUESTIONS = {
    "feed_is_fresh": "Events of the newest closed day arrived, if the feed was busy in the week before.",
    "days_are_counted": "No closed day up to the newest waits to be counted again.",
    "segments_cover_users": "Every user has a segment.",
    "scores_are_in_range": "No score or probability is missing, out of range or not a number.",
}


def inspect(conn: Connection, newest: date, now: datetime) -> list[Finding]:
    """Ask every question of `QUESTIONS` about the state for the newest closed day. Reads only."""
    return [_feed(conn, newest), _counted(conn, newest, now), _covered(conn, now), _in_range(conn)]


def _feed(conn: Connection, newest: date) -> Finding:
    by_day = sa.select(user_days.c.day, sa.func.sum(user_days.c.events).label("events")).where(
        user_days.c.day.between(newest - ENDED_AFTER, newest + DAY)
    )
    counts = {day: int(n) for day, n in conn.execute(by_day.group_by(user_days.c.day))}
    last = max(counts, default=None)
    if last is None:
        return Finding("feed_is_fresh", True, "No event in the last 30 days: there is no feed to wait for.")
    week = [counts.get(last - n * DAY, 0) for n in range(1, 8)]
    stopped = last < newest and min(week) >= BUSY_EVENTS
    if stopped:
        return Finding(
            "feed_is_fresh",
            False,
            f"The feed carried at least {min(week)} events a day and stopped after {last}: {newest} has none. "
            "Nothing is proposed until events arrive again. Check the product's sender and its API key.",
        )
    return Finding("feed_is_fresh", True, f"The newest day with events is {last}.")


def _counted(conn: Connection, newest: date, now: datetime) -> Finding:
    waiting = sa.select(sa.func.count()).where(
        dirty_user_days.c.day <= newest, dirty_user_days.c.noticed_at < now - _PATIENCE
    )
    count = conn.scalar(waiting) or 0
    detail = f"{count} (user, day) pairs up to {newest} wait to be counted for over five minutes."
    return Finding("days_are_counted", count == 0, detail)


def _covered(conn: Connection, now: datetime) -> Finding:
    missing = (
        sa.select(sa.func.count())
        .select_from(users.outerjoin(segments, segments.c.user_id == users.c.id))
        .where(segments.c.user_id.is_(None), users.c.created_at < now - _PATIENCE)
    )
    count = conn.scalar(missing) or 0
    return Finding("segments_cover_users", count == 0, f"{count} users have no segment.")


def _in_range(conn: Connection) -> Finding:
    # NaN passes BETWEEN checks of neither sort: PostgreSQL holds it greater than every number.
    bad_risk = sa.select(sa.func.count()).where(
        sa.or_(segments.c.churn_risk.is_(None), sa.not_(segments.c.churn_risk.between(0, 1)))
    )
    bad_probability = sa.select(sa.func.count()).where(sa.not_(predictions.c.probability.between(0, 1)))
    count = (conn.scalar(bad_risk) or 0) + (conn.scalar(bad_probability) or 0)
    return Finding("scores_are_in_range", count == 0, f"{count} scores are missing or out of range.")
