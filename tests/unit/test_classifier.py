"""Segments by hand: the thresholds, the hole they leave, and scores that never fall with more activity."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from oracle_lib.analyze import classifier
from oracle_lib.storage import tables
from oracle_lib.storage.tables import segments
from tests import world
from tests.conftest import NOW

TODAY = NOW.date()


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def segment(conn: Connection, user: str = "u") -> Mapping[str, object]:
    return conn.execute(sa.select(segments).where(segments.c.user_id == user)).mappings().one()


def classified(conn: Connection, *bodies: bytes) -> Mapping[str, object]:
    world.post(conn, bodies, NOW)
    world.run_stages(conn, TODAY)
    return segment(conn)


@pytest.mark.parametrize(
    ("silent", "lessons", "level", "score"),
    [
        (31, 0, "lost", 0),
        (30, 0, "dormant", 20),
        (15, 0, "dormant", 20),
        (14, 0, "moderate", 32),
        (0, 0, "moderate", 46),
        (0, 1, "moderate", 46),
        (0, 2, "moderate", 60),
        (0, 4, "moderate", 60),
        (0, 5, "active", 90),
    ],
)
def test_engagement_follows_the_thresholds_and_fills_their_hole(
    conn: Connection, silent: int, lessons: int, level: str, score: int
) -> None:
    found = classified(
        conn,
        world.event("u", "signup", days_ago(200)),
        world.event("u", "login", days_ago(silent)),
        *(world.event("u", "lesson_complete", days_ago(silent), messageId=f"l{n}") for n in range(lessons)),
    )
    assert (found["engagement_level"], found["engagement_score"]) == (level, score)


@pytest.mark.parametrize(("joined", "level", "lifecycle"), [(13, "new", "lead"), (14, "moderate", "lead")])
def test_new_lasts_fourteen_days(conn: Connection, joined: int, level: str, lifecycle: str) -> None:
    found = classified(conn, world.event("u", "signup", days_ago(joined)), world.event("u", "login", days_ago(1)))
    assert (found["engagement_level"], found["lifecycle"]) == (level, lifecycle)


def test_what_is_done_to_a_user_does_not_keep_them_active(conn: Connection) -> None:
    found = classified(
        conn,
        world.event("u", "login", days_ago(40)),
        *(world.event("u", name, days_ago(1)) for name in ("email_sent", "dm_sent", "email_open", "refund")),
    )
    assert (found["engagement_level"], found["last_active_on"]) == ("lost", TODAY - timedelta(days=40))


@pytest.mark.parametrize(
    ("events", "lifecycle"),
    [
        ([("signup", 30)], "lead"),
        ([("signup", 5), ("lesson_complete", 2)], "new"),
        ([("signup", 60), ("lesson_complete", 3)], "active"),
        ([("signup", 60), ("lesson_complete", 1), ("login", 8), ("login", 15)], "engaged"),
        ([("signup", 60), ("lesson_complete", 9), ("course_complete", 9)], "graduate"),
        ([("signup", 160), ("lesson_complete", 60), ("course_complete", 60)], "alumni"),
    ],
)
def test_lifecycle(conn: Connection, events: list[tuple[str, int]], lifecycle: str) -> None:
    bodies = [world.event("u", name, days_ago(days), messageId=f"{n}") for n, (name, days) in enumerate(events)]
    assert classified(conn, *bodies)["lifecycle"] == lifecycle


def test_value_is_what_was_paid_less_what_was_given_back(conn: Connection) -> None:
    found = classified(
        conn,
        world.event("u", "purchase", days_ago(20), metadata={"amount": 597}),
        world.event("u", "upgrade", days_ago(10), metadata={"amount": "49.90"}),
        world.event("u", "refund", days_ago(5), metadata={"amount": 97}),
        world.event("u", "purchase", days_ago(4)),
    )
    assert (found["ltv"], found["value_segment"]) == (Decimal("549.90"), "high")


def test_progress_counts_distinct_lessons_of_the_catalogue_and_is_unknown_without_one(conn: Connection) -> None:
    done = [
        world.event("u", "lesson_complete", days_ago(n), metadata={"courseId": "c", "lessonId": f"l{n % 2}"})
        for n in range(4)
    ]
    assert classified(conn, *done)["progress"] is None
    conn.execute(sa.insert(tables.courses), {"id": "c", "title": "C"})
    lessons = [{"course_id": "c", "id": f"l{n}", "title": "L", "position": n} for n in range(8)]
    conn.execute(sa.insert(tables.lessons), lessons)
    world.run_stages(conn, TODAY, everyone=True)
    assert segment(conn)["progress"] == 25


def test_a_change_of_level_is_kept_with_its_day_and_a_first_level_is_no_change(conn: Connection) -> None:
    classified(conn, world.event("u", "signup", days_ago(100)), world.event("u", "login", days_ago(10)))
    world.run_stages(conn, TODAY + timedelta(days=5))
    changes = conn.execute(
        sa.select(tables.segment_changes.c.old, tables.segment_changes.c.new, tables.segment_changes.c.as_of).where(
            tables.segment_changes.c.field == "engagement_level"
        )
    ).all()
    assert changes == [(None, "moderate", TODAY), ("moderate", "dormant", TODAY + timedelta(days=5))]


@given(
    silent=st.integers(0, 60), active_days=st.integers(0, 30), lessons=st.integers(0, 8), more=st.sampled_from("sal")
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_more_or_more_recent_activity_never_lowers_the_score(
    conn: Connection, silent: int, active_days: int, lessons: int, more: str
) -> None:
    rows = [(silent, active_days, lessons)]
    rows.append((max(silent - 1, 0) if more == "s" else silent, active_days + (more == "a"), lessons + (more == "l")))
    conn.execute(sa.delete(tables.users))
    conn.execute(sa.delete(tables.activity))
    for number, (days, active, done) in enumerate(rows):
        last = TODAY - timedelta(days=days)
        conn.execute(sa.insert(tables.users), {"id": f"u{number}", "joined_at": days_ago(300)})
        conn.execute(
            sa.insert(tables.activity),
            {"user_id": f"u{number}", "last_active_on": last, "active_days_30d": active, "lesson_complete_7d": done},
        )
    classifier.classify(conn, TODAY, settings=world.SETTINGS, everyone=True)
    before, after = (segment(conn, user)["engagement_score"] for user in ("u0", "u1"))
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after >= before
