"""What a week taught: found only where the counts bear it, cited with them, and once a week."""

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Row

from oracle_lib.learn.hypotheses import InsightsReport, observe_week
from oracle_lib.learn.intervals import Share
from oracle_lib.storage.tables import (
    actions,
    courses,
    insights,
    lessons,
    outcomes,
    rules,
    segment_counts,
    user_lessons,
)
from tests.world import event, post

WEEK = date(2026, 2, 22)
LONG_AGO = date(2026, 2, 1)


def found(conn: Connection, now: datetime) -> list[Row]:
    observe_week(conn, WEEK, now)
    return list(conn.execute(sa.select(insights).order_by(insights.c.cause)))


def course_where_users_stop_after(conn: Connection, stops: dict[int, int], last: date = LONG_AGO) -> None:
    """A course of ten lessons; `stops` says how many users did lessons 1 to n and then no more."""
    conn.execute(sa.insert(courses), {"id": "c1", "title": "Bread"})
    conn.execute(
        sa.insert(lessons),
        [{"course_id": "c1", "id": f"l{n}", "title": f"Lesson {n}", "position": n} for n in range(1, 11)],
    )
    done = [
        {"user_id": f"u{reached}-{user}", "day": last, "course_id": "c1", "lesson_id": f"l{n}"}
        for reached, users in stops.items()
        for user in range(users)
        for n in range(1, reached + 1)
    ]
    conn.execute(sa.insert(user_lessons), done)


def counted(conn: Connection, dormant: list[int], users: int = 1000) -> None:
    """Users of whom so many were dormant at the end of the week, and of the weeks before it."""
    days = [WEEK + timedelta(days=6 - 7 * n) for n in range(len(dormant))]
    parts = [
        {"day": day, "field": "engagement_level", "value": value, "users": n}
        for day, number in zip(days, dormant, strict=True)
        for value, n in (("dormant", number), ("active", users - number))
    ]
    conn.execute(sa.insert(segment_counts), parts)


def quizzes(conn: Connection, now: datetime, lesson: str, *, failed: int, passed: int) -> None:
    at = datetime(2026, 2, 24, 8, 0, tzinfo=UTC)
    facts = {"courseId": "c1", "lessonId": lesson}
    names = ["quiz_fail"] * failed + ["quiz_pass"] * passed
    post(conn, [event(f"u{n}", name, at, metadata=facts) for n, name in enumerate(names)], now)


def rule_with(conn: Connection, name: str, *, sent: int, opened: int, kind: str = "email") -> uuid.UUID:
    rule_id: uuid.UUID = conn.execute(
        sa.insert(rules).returning(rules.c.id),
        {"name": name, "trigger": "event_based", "conditions": {}, "action_type": kind, "action_data": {}},
    ).scalar_one()
    at = datetime(2026, 2, 10, tzinfo=UTC)
    one = {"action_type": kind, "content": "Hi", "content_hash": "h", "approved_hash": "h", "triggered_by": name}
    made = sa.insert(actions).returning(actions.c.id)
    rows = [{**one, "user_id": f"u{n}", "rule_id": rule_id, "cause": "c"} for n in range(sent)]
    ids = list(conn.execute(made, rows).scalars())
    for status in ("approved", "executing", "executed"):
        conn.execute(
            sa.update(actions)
            .where(actions.c.rule_id == rule_id)
            .values(status=status, executed_at=at if status == "executed" else None)
        )
    came = [{"action_id": one, "kind": "opened", "at": at, "user_id": "u"} for one in ids[:opened]]
    if came:
        conn.execute(sa.insert(outcomes), came)
    return rule_id


def test_the_lesson_before_which_most_stop_is_observed_with_its_counts(conn: Connection, now: datetime) -> None:
    course_where_users_stop_after(conn, {2: 10, 6: 40, 9: 10, 10: 500})
    (one,) = found(conn, now)
    assert (one.type, one.cause, one.status) == ("observation", "course_stop:c1:2026-02-22", "new")
    assert one.title == "Bread: most who stop do so before “Lesson 7”"
    assert "40 of 60 (67 %) stopped before lesson 7" in one.content
    assert one.metadata | {"lessonId": "l7", "stoppedBeforeLesson": 40, "stoppedInCourse": 60} == one.metadata
    assert one.confidence == Share(40, 60).precision


@pytest.mark.parametrize(
    ("stops", "last"),
    [
        ({6: 29}, LONG_AGO),
        (dict.fromkeys(range(1, 10), 10), LONG_AGO),
        ({6: 60}, date(2026, 2, 20)),
        ({10: 99}, LONG_AGO),
    ],
    ids=["few", "evenly", "still learning", "finished"],
)
def test_no_lesson_is_named_without_a_reason(
    conn: Connection, now: datetime, stops: dict[int, int], last: date
) -> None:
    course_where_users_stop_after(conn, stops, last)
    assert found(conn, now) == []


def test_more_dormant_users_than_the_mean_of_four_weeks_are_observed(conn: Connection, now: datetime) -> None:
    counted(conn, [200, 100, 110, 90, 100])
    (one,) = found(conn, now)
    assert (one.type, one.cause) == ("observation", "dormant_growth:2026-02-22")
    assert "200 of 1,000 (20 %) users were dormant" in one.content
    assert "10.0 % on average (newest first: 100, 110, 90, 100)" in one.content


@pytest.mark.parametrize("dormant", [[105, 100, 100, 100, 100], [50, 100, 100, 100, 100], [900, 100, 100, 100]])
def test_noise_a_fall_and_a_short_past_are_no_growth(conn: Connection, now: datetime, dormant: list[int]) -> None:
    counted(conn, dormant)
    assert found(conn, now) == []


def test_a_quiz_that_fails_more_than_the_others_is_a_hypothesis(conn: Connection, now: datetime) -> None:
    quizzes(conn, now, "l1", failed=30, passed=10)
    quizzes(conn, now, "l2", failed=10, passed=50)
    (one,) = found(conn, now)
    assert (one.type, one.cause) == ("hypothesis", "quiz_failure:c1:l1:2026-02-22")
    assert "30 of 40 (75 %) attempts at it failed, by 40 users; of all other quizzes 10 of 60 (17 %)" in one.content


def test_the_least_answered_rule_of_a_kind_is_recommended_for_a_change(conn: Connection, now: datetime) -> None:
    weak = rule_with(conn, "weak", sent=60, opened=6)
    rule_with(conn, "good", sent=80, opened=40)
    rule_with(conn, "small", sent=49, opened=0)
    rule_with(conn, "other kind", sent=60, opened=0, kind="dm")
    (one,) = found(conn, now)
    assert (one.type, one.cause) == ("recommendation", f"weak_rule:{weak}:2026-02-22")
    assert "6 of 60 (10 %)" in one.content
    assert "40 of 80 (50 %)" in one.content


def test_a_difference_within_the_intervals_recommends_nothing(conn: Connection, now: datetime) -> None:
    rule_with(conn, "a", sent=60, opened=27)
    rule_with(conn, "b", sent=60, opened=30)
    assert found(conn, now) == []


def test_observing_a_week_again_adds_nothing(conn: Connection, now: datetime) -> None:
    counted(conn, [200, 100, 110, 90, 100])
    assert observe_week(conn, WEEK, now) == InsightsReport(week=WEEK, found=1, added=1)
    before = conn.execute(sa.select(insights)).all()
    assert observe_week(conn, WEEK, now + timedelta(hours=1)) == InsightsReport(week=WEEK, found=1, added=0)
    assert conn.execute(sa.select(insights)).all() == before


def test_the_interval_is_wilsons() -> None:
    """Checked against the published example: 10 of 20 gives 0.299 to 0.701."""
    share = Share(10, 20)
    assert (round(share.low, 3), round(share.high, 3), share.precision) == (0.299, 0.701, 60)
    assert (Share(0, 0).low, Share(0, 0).high, Share(0, 0).precision) == (0.0, 1.0, 0)
