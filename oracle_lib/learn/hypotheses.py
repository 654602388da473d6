"""What a week taught, found in figures: observations, a hypothesis, a recommendation. Table `insights`.

Each finding cites its counts, and keeps them in `metadata`. It is made only where the 95 % intervals say that there is
something to see; with little data nothing is found. `confidence` (0-100) is the precision of the share it rests on:
100 less the width of its Wilson interval in points. It is not the chance that a proposal will work: that takes an
experiment. One finding about one thing in one week is one row: observing a week again adds nothing.

- observation `course_stop`: the lesson before which most users of a course stopped.
- observation `dormant_growth`: more users are dormant than in the four weeks before.
- hypothesis `quiz_failure`: a lesson's quiz is failed more often than the others. Reads raw events of the week.
- recommendation `weak_rule`: the rule whose messages are answered least, among those of its kind.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection, Row
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.clock import DAY, start_of
from oracle_lib.learn.intervals import Share
from oracle_lib.storage.tables import insights

QUIET_DAYS = 14
MIN_STOPPED = 30
MIN_SENT = 50
MIN_ATTEMPTS = 30
RULE_WEEKS = 4
RESPONSE_DAYS = 7
MEAN_WEEKS = 4
_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class InsightsReport:
    """One week observed: findings, and those of them that were not there yet."""

    week: date
    found: int
    added: int


@dataclass(frozen=True)
class _Finding:
    type: str
    about: str
    title: str
    content: str
    confidence: int
    evidence: dict[str, object]


# Users who did a lesson of the course, none in the last 14 days, and not its last one; with the lesson after.
_STOPS = sa.text("""
    WITH reached AS (
        SELECT done.user_id, done.course_id, max(l.position) AS position
        FROM user_lessons done JOIN lessons l ON l.course_id = done.course_id AND l.id = done.lesson_id
        WHERE done.day < :after
        GROUP BY done.user_id, done.course_id
        HAVING max(done.day) < :quiet_since
    ),
    stopped AS (
        SELECT reached.course_id, next.id AS lesson_id, next.title, next.position, count(*) AS users
        FROM reached
        CROSS JOIN LATERAL (
            SELECT l.id, l.title, l.position FROM lessons l
            WHERE l.course_id = reached.course_id AND l.position > reached.position
            ORDER BY l.position, l.id LIMIT 1
        ) next
        GROUP BY reached.course_id, next.id, next.title, next.position
    )
    SELECT DISTINCT ON (s.course_id) s.course_id, c.title AS course, s.lesson_id, s.title AS lesson, s.position,
        s.users,
        CAST(sum(s.users) OVER (PARTITION BY s.course_id) AS integer) AS stopped,
        (SELECT count(*) FROM lessons l WHERE l.course_id = s.course_id) AS lessons
    FROM stopped s JOIN courses c ON c.id = s.course_id
    ORDER BY s.course_id, s.users DESC, s.position
""")

_DORMANT = sa.text("""
    SELECT day, CAST(sum(users) FILTER (WHERE value = 'dormant') AS integer) AS dormant,
        CAST(sum(users) AS integer) AS users
    FROM segment_counts
    WHERE field = 'engagement_level' AND day = ANY(CAST(:days AS date[]))
    GROUP BY day ORDER BY day DESC
""")

_QUIZZES = sa.text("""
    SELECT e.course_id, e.lesson_id, COALESCE(l.title, e.lesson_id) AS lesson,
        count(*) AS attempts, count(*) FILTER (WHERE e.event = 'quiz_fail') AS failed,
        count(DISTINCT e.user_id) AS users
    FROM events e LEFT JOIN lessons l ON l.course_id = e.course_id AND l.id = e.lesson_id
    WHERE e.created_at >= :start AND e.created_at < :stop
        AND e.event IN ('quiz_pass', 'quiz_fail') AND e.lesson_id IS NOT NULL
    GROUP BY e.course_id, e.lesson_id, l.title
    ORDER BY e.course_id, e.lesson_id
""")

# Every message counted has had the same seven days to be answered in.
_RULES = sa.text("""
    SELECT a.rule_id, r.name AS rule, a.action_type, count(*) AS sent,
        count(*) FILTER (WHERE EXISTS (
            SELECT FROM outcomes o
            WHERE o.action_id = a.id AND o.kind IN ('opened', 'clicked', 'replied', 'converted')
                AND o.at < a.executed_at + CAST(:response AS interval)
        )) AS answered
    FROM actions a JOIN rules r ON r.id = a.rule_id
    WHERE a.status = 'executed' AND a.executed_at >= :sent_from AND a.executed_at < :sent_until
    GROUP BY a.rule_id, r.name, a.action_type
    HAVING count(*) >= :min_sent
    ORDER BY a.action_type, r.name
""")


def observe_week(conn: Connection, week: date, now: datetime) -> InsightsReport:
    """Keep what the week that begins on the Sunday `week` taught. Idempotent."""
    found = [*_stops(conn, week), *_dormant(conn, week), *_quizzes(conn, week), *_weak_rule(conn, week)]
    return InsightsReport(week=week, found=len(found), added=_keep(conn, found, week, now))


def _keep(conn: Connection, found: Iterable[_Finding], week: date, now: datetime) -> int:
    rows = [
        {
            "type": one.type,
            "title": one.title,
            "content": one.content,
            "confidence": one.confidence,
            "metadata": {"week": week.isoformat(), **one.evidence},
            "cause": f"{one.about}:{week}",
            "created_at": now,
        }
        for one in found
    ]
    if not rows:
        return 0
    added = insert(insights).on_conflict_do_nothing(index_elements=[insights.c.cause]).returning(insights.c.id)
    return len(conn.execute(added, rows).all())


def _stops(conn: Connection, week: date) -> Iterator[_Finding]:
    after = week + _WEEK
    asked = {"after": after, "quiet_since": after - timedelta(days=QUIET_DAYS)}
    for row in conn.execute(_STOPS, asked):
        share, evenly = Share(row.users, row.stopped), 1 / row.lessons
        if row.stopped < MIN_STOPPED or share.low <= evenly:
            continue
        yield _Finding(
            type="observation",
            about=f"course_stop:{row.course_id}",
            title=f"{row.course}: most who stop do so before “{row.lesson}”",
            content=(
                f"Of the users who began {row.course}, did not reach its end and did no lesson of it for {QUIET_DAYS}"
                f" days, {share} stopped before lesson {row.position}, “{row.lesson}”. Spread evenly over the"
                f" {row.lessons} lessons it would be {100 * evenly:.0f} %."
            ),
            confidence=share.precision,
            evidence={
                "courseId": row.course_id,
                "lessonId": row.lesson_id,
                "stoppedBeforeLesson": row.users,
                "stoppedInCourse": row.stopped,
                "lessonsInCourse": row.lessons,
            },
        )


def _dormant(conn: Connection, week: date) -> Iterator[_Finding]:
    days = [week + _WEEK - DAY - n * _WEEK for n in range(MEAN_WEEKS + 1)]
    counted = conn.execute(_DORMANT, {"days": days}).all()
    if len(counted) < len(days):
        return
    this, *before = (Share(row.dormant or 0, row.users) for row in counted)
    mean = sum(share.value for share in before) / len(before)
    if this.low <= mean:
        return
    yield _Finding(
        type="observation",
        about="dormant_growth",
        title="More users are dormant than in the four weeks before",
        content=(
            f"At the end of the week {this} users were dormant; at the ends of the {MEAN_WEEKS} weeks before it was"
            f" {100 * mean:.1f} % on average (newest first: {', '.join(str(share.hits) for share in before)})."
        ),
        confidence=this.precision,
        evidence={
            "dormant": this.hits,
            "users": this.cases,
            "dormantBefore": [share.hits for share in before],
            "usersBefore": [share.cases for share in before],
        },
    )


def _quizzes(conn: Connection, week: date) -> Iterator[_Finding]:
    rows = conn.execute(_QUIZZES, {"start": start_of(week), "stop": start_of(week + _WEEK)}).all()
    attempts, failed = sum(row.attempts for row in rows), sum(row.failed for row in rows)
    for row in rows:
        share, others = Share(row.failed, row.attempts), Share(failed - row.failed, attempts - row.attempts)
        if row.attempts < MIN_ATTEMPTS or others.cases < MIN_ATTEMPTS or share.low <= others.high:
            continue
        yield _Finding(
            type="hypothesis",
            about=f"quiz_failure:{row.course_id or ''}:{row.lesson_id}",
            title=f"The quiz of “{row.lesson}” may ask more than the lesson teaches",
            content=(
                f"In the week {share} attempts at it failed, by {row.users:,} users; of all other quizzes {others}. If"
                " the lesson is mended or an exercise put before the quiz, the share should fall towards the others."
            ),
            confidence=share.precision,
            evidence={
                "courseId": row.course_id,
                "lessonId": row.lesson_id,
                "failed": row.failed,
                "attempts": row.attempts,
                "users": row.users,
                "failedElsewhere": others.hits,
                "attemptsElsewhere": others.cases,
            },
        )


def _weak_rule(conn: Connection, week: date) -> Iterator[_Finding]:
    until = start_of(week + _WEEK) - timedelta(days=RESPONSE_DAYS)
    asked = {
        "sent_from": until - RULE_WEEKS * _WEEK,
        "sent_until": until,
        "response": timedelta(days=RESPONSE_DAYS),
        "min_sent": MIN_SENT,
    }
    rows = conn.execute(_RULES, asked).all()
    weak = [(_answered([row]).value, row) for row in rows if _answered([row]).high < _others(rows, row).low]
    if not weak:
        return
    row = min(weak, key=lambda one: one[0])[1]
    share, others = _answered([row]), _others(rows, row)
    yield _Finding(
        type="recommendation",
        about=f"weak_rule:{row.rule_id}",
        title=f"Rewrite or pause the rule “{row.rule}”",
        content=(
            f"Of its {row.action_type} messages of {RULE_WEEKS} weeks {share} were opened, clicked, answered or"
            f" followed by the goal within {RESPONSE_DAYS} days; of {row.action_type} messages of other rules {others}."
            " Try other words or another moment, or give the place to a rule that is answered more."
        ),
        confidence=share.precision,
        evidence={
            "ruleId": str(row.rule_id),
            "actionType": row.action_type,
            "sent": row.sent,
            "answered": row.answered,
            "sentElsewhere": others.cases,
            "answeredElsewhere": others.hits,
        },
    )


def _answered(rows: Iterable[Row]) -> Share:
    counted = [(row.answered, row.sent) for row in rows]
    return Share(sum(answered for answered, _ in counted), sum(sent for _, sent in counted))


def _others(rows: Iterable[Row], but: Row) -> Share:
    return _answered(row for row in rows if row.action_type == but.action_type and row.rule_id != but.rule_id)
