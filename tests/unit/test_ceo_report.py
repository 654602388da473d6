"""The week's report: every figure of a seeded week is counted by hand here, from the rows that were put in."""

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Invalid, NotFound
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import (
    action_changes,
    actions,
    outcomes,
    rejected_events,
    reports,
    rule_versions,
    rules,
    segment_changes,
    segment_counts,
    segments,
    user_days,
    users,
)
from oracle_lib.tell import ceo_report
from oracle_lib.tell.report_catalogue import KINDS

WEEK = date(2026, 2, 22)
BEFORE = WEEK - timedelta(days=7)
IN_WEEK = datetime(2026, 2, 24, 10, 0, tzinfo=UTC)
BEFORE_WEEK = IN_WEEK - timedelta(days=7)
AFTER_WEEK = IN_WEEK + timedelta(days=7)


def make(conn: Connection, now: datetime, week: date = WEEK) -> ceo_report.Report:
    return ceo_report.make(conn, week, now, settings=Settings())


def joined(conn: Connection, **moments: datetime) -> None:
    conn.execute(sa.insert(users), [{"id": name, "joined_at": at} for name, at in moments.items()])


def rule(conn: Connection, name: str, goal: dict[str, object] | None) -> uuid.UUID:
    made: uuid.UUID = conn.execute(
        sa.insert(rules).returning(rules.c.id),
        {"name": name, "trigger": "event_based", "conditions": {}, "action_type": "email", "action_data": {}},
    ).scalar_one()
    conn.execute(sa.insert(rule_versions), {"rule_id": made, "version": 1, "definition": {"goal": goal}})
    return made


def action(
    conn: Connection,
    made_at: datetime,
    *moves: tuple[str, datetime],
    kind: str = "email",
    rule_id: uuid.UUID | None = None,
    by: str = "manual",
    **came: datetime,
) -> uuid.UUID:
    """An action made at a moment, moved through states, and what came of it."""
    made: uuid.UUID = conn.execute(
        sa.insert(actions).returning(actions.c.id),
        {
            "user_id": "u1",
            "action_type": kind,
            "content": "Hello",
            "content_hash": "h",
            "approved_hash": "h",
            "triggered_by": by,
            "rule_id": rule_id,
            "rule_version": 1 if rule_id else None,
            "cause": str(uuid.uuid4()),
            "created_at": made_at,
        },
    ).scalar_one()
    old = "pending"
    for new, at in moves:
        executed_at = at if new == "executed" else None
        conn.execute(sa.update(actions).where(actions.c.id == made).values(status=new, executed_at=executed_at))
        move = {"action_id": made, "at": at, "actor": "a", "verb": new, "old_status": old, "new_status": new}
        conn.execute(sa.insert(action_changes), {**move, "version": 1})
        old = new
    for what, at in came.items():
        amount = Decimal("20.00") if what == "converted" else None
        row = {"action_id": made, "kind": what, "at": at, "user_id": "u1", "amount": amount}
        conn.execute(sa.insert(outcomes), row)
    return made


def sent(at: datetime) -> Iterator[tuple[str, datetime]]:
    yield from (("approved", at), ("executing", at), ("executed", at))


@pytest.fixture
def week(conn: Connection) -> None:
    joined(conn, u1=BEFORE_WEEK, u2=IN_WEEK, u3=IN_WEEK, u4=AFTER_WEEK)
    day = {"user_id": "u1", "day": WEEK, "acted": 3, "lesson_complete": 2, "course_complete": 0}
    day |= {"quiz_pass": 2, "quiz_fail": 1, "revenue": Decimal("100.10"), "refunds": Decimal(0)}
    conn.execute(
        sa.insert(user_days),
        [
            day,
            {**day, "day": WEEK + timedelta(days=6), "course_complete": 1, "refunds": Decimal("30.05")},
            {**day, "user_id": "u2", "quiz_pass": 0, "quiz_fail": 0, "revenue": Decimal("0.05")},
            {**day, "user_id": "u3", "acted": 0, "lesson_complete": 0, "quiz_pass": 0, "revenue": Decimal(0)},
            {**day, "day": BEFORE, "lesson_complete": 9, "revenue": Decimal("50.00")},
            {**day, "day": WEEK + timedelta(days=7), "lesson_complete": 100, "revenue": Decimal("999.00")},
        ],
    )
    counted = {"day": WEEK + timedelta(days=6), "field": "engagement_level"}
    conn.execute(
        sa.insert(segment_counts),
        [
            {**counted, "value": "active", "users": 2},
            {**counted, "value": "lost", "users": 1},
            {**counted, "value": "active", "users": 5, "day": BEFORE + timedelta(days=6)},
            {**counted, "value": "active", "users": 7, "field": "lifecycle"},
        ],
    )
    change = {"user_id": "u1", "field": "engagement_level", "old": "active", "new": "dormant", "as_of": WEEK}
    churn = {"field": "churn_level", "old": None, "as_of": BEFORE}
    conn.execute(
        sa.insert(segment_changes),
        [
            change,
            {**change, "old": "moderate", "as_of": WEEK + timedelta(days=3)},
            {**change, "old": "dormant", "new": "lost", "as_of": WEEK + timedelta(days=6)},
            {**change, "user_id": "u2", "old": None},
            {**change, "user_id": "u3", "as_of": WEEK + timedelta(days=7)},
            {**churn, "user_id": "u1", "new": "low"},
            {**churn, "user_id": "u2", "new": "high"},
            {**churn, "user_id": "u1", "old": "low", "new": "critical", "as_of": WEEK + timedelta(days=1)},
            {**churn, "user_id": "u2", "old": "high", "new": "low", "as_of": WEEK + timedelta(days=7)},
        ],
    )
    refused = {"source": "s", "raw": b"{", "reason_code": "malformed_json", "detail": "no"}
    conn.execute(sa.insert(rejected_events), [{**refused, "received_at": at} for at in (IN_WEEK, IN_WEEK, BEFORE_WEEK)])


@pytest.fixture
def work(conn: Connection) -> None:
    welcome = rule(conn, "Welcome", {"event": "lesson_complete", "within_days": 7})
    nudge = rule(conn, "Nudge | <b>", None)
    of_welcome, of_nudge = {"rule_id": welcome, "by": "Welcome"}, {"rule_id": nudge, "by": "Nudge | <b>"}
    hour = timedelta(hours=1)
    action(conn, BEFORE_WEEK, *sent(IN_WEEK), **of_welcome, opened=IN_WEEK + hour, converted=IN_WEEK + 2 * hour)
    action(conn, IN_WEEK, *sent(IN_WEEK), **of_welcome, opened=IN_WEEK + hour, clicked=IN_WEEK + hour)
    action(conn, IN_WEEK, *sent(IN_WEEK), **of_welcome, converted=AFTER_WEEK)
    action(conn, IN_WEEK, *sent(IN_WEEK), **of_nudge, kind="dm")
    action(conn, BEFORE_WEEK, *sent(BEFORE_WEEK), **of_welcome, converted=IN_WEEK)
    action(conn, IN_WEEK, ("rejected", IN_WEEK), kind="push")
    action(conn, IN_WEEK, ("approved", IN_WEEK), ("executing", IN_WEEK), ("failed", IN_WEEK))
    retried = (("approved", IN_WEEK), ("executing", IN_WEEK), ("approved", IN_WEEK), ("executing", IN_WEEK))
    action(conn, IN_WEEK, *retried, ("unknown", IN_WEEK), ("failed", IN_WEEK), kind="dm")
    action(conn, AFTER_WEEK)


@pytest.mark.usefixtures("week", "work")
def test_every_figure_equals_what_was_put_in(conn: Connection, now: datetime) -> None:
    report = make(conn, now)
    found = {figure["id"]: (figure["value"], figure["before"], figure["change"]) for figure in report.body["figures"]}
    assert found == {
        "active_users": (2, 1, 1),
        "new_users": (2, 1, 1),
        "engagement_active": (2, 5, -3),
        "engagement_moderate": (0, 0, 0),
        "engagement_new": (0, 0, 0),
        "engagement_dormant": (0, 0, 0),
        "engagement_lost": (1, 0, 1),
        "became_dormant": (1, None, None),
        "became_lost": (1, None, None),
        "churn_low": (0, 1, -1),
        "churn_medium": (0, 0, 0),
        "churn_high": (1, 1, 0),
        "churn_critical": (1, 0, 1),
        "lessons_completed": (6, 9, -3),
        "courses_completed": (1, 0, 1),
        "quiz_pass_rate": (57.1, 66.7, -9.6),
        "revenue": ("200.25", "50.00", "150.25"),
        "refunds": ("30.05", "0.00", "30.05"),
        "net_revenue": ("170.20", "50.00", "120.20"),
        "actions_proposed": (6, 2, 4),
        "actions_approved": (6, 1, 5),
        "actions_rejected": (1, 0, 1),
        "actions_executed": (4, 1, 3),
        "actions_failed": (2, 0, 2),
        "opened": (2, 0, 2),
        "clicked": (1, 0, 1),
        "converted": (2, 0, 2),
        "converted_revenue": ("40.00", "0.00", "40.00"),
        "open_rate": (50.0, 0.0, 50.0),
        "click_rate": (33.3, 0.0, 33.3),
        "conversion_rate": (33.3, 0.0, 33.3),
        "rejected_events": (2, 1, 1),
    }


@pytest.mark.usefixtures("week", "work")
def test_actions_are_told_by_type_and_by_rule(conn: Connection, now: datetime) -> None:
    report = make(conn, now)
    moves = ("proposed", "approved", "rejected", "executed", "failed")
    assert [(row["actionType"], *(row[move] for move in moves)) for row in report.body["byType"]] == [
        ("dm", 2, 2, 0, 1, 1),
        ("email", 3, 4, 0, 3, 1),
        ("push", 1, 0, 1, 0, 0),
    ]
    columns = ("rule", "executed", "opened", "clicked", "converted", "conversionRate", "revenue")
    assert [tuple(row[column] for column in columns) for row in report.body["byRule"]] == [
        ("Welcome", 3, 2, 1, 2, 33.3, "40.00"),
        ("Nudge | <b>", 1, 0, 0, 0, None, "0.00"),
    ]


@pytest.mark.usefixtures("week", "work")
def test_the_page_carries_every_figure_and_no_word_of_cause(conn: Connection, now: datetime) -> None:
    page = make(conn, now).markdown
    assert page.startswith("# The week of 22 February 2026\n")
    assert all(f"| {kind.label} |" in page for kind in KINDS)
    assert "2 users were active, 1 more than the week before, and 2 joined." in page
    assert "Net revenue was 170.20 USD, 120.20 USD more than the week before: 200.25 USD came in" in page
    assert "| Lessons completed | 6 | 9 | \N{MINUS SIGN}3 |" in page
    assert "| Churn risk: medium | 0 | 0 | 0 |" in page
    assert all(f"- {kind.label}: {kind.definition}" in page for kind in KINDS)
    assert "| Nudge \\| &lt;b> |" in page
    assert not any(word in page.lower() for word in ("caused", "because", "thanks to", "led to", "drove", "boosted"))


@pytest.mark.usefixtures("week", "work")
def test_the_same_data_leaves_the_report_untouched_and_new_data_makes_it_anew(conn: Connection, now: datetime) -> None:
    first = make(conn, now)
    assert make(conn, now + timedelta(hours=1)) == first
    action(conn, IN_WEEK)
    later = make(conn, now + timedelta(hours=2))
    assert later.made_at == now + timedelta(hours=2)
    assert later.figure("actions_proposed")["value"] == 7
    assert conn.scalar(sa.select(sa.func.count()).select_from(reports)) == 1


def test_a_week_without_data_says_so(conn: Connection, now: datetime) -> None:
    report = make(conn, now)
    assert all(figure["value"] is None and figure["change"] is None for figure in report.body["figures"])
    assert "No activity was recorded in this week." in report.markdown
    assert "ORACLE had proposed nothing by the end of this week." in report.markdown


@pytest.mark.usefixtures("week")
def test_a_first_week_has_no_change(conn: Connection, now: datetime) -> None:
    conn.execute(sa.delete(user_days).where(user_days.c.day < WEEK))
    report = make(conn, now)
    assert (report.figure("revenue")["before"], report.figure("revenue")["change"]) == (None, None)
    assert "2 users were active (the week before has no data)" in report.markdown


def test_the_newest_week_falls_back_to_the_risk_that_stands(conn: Connection, now: datetime) -> None:
    conn.execute(sa.insert(segments), [{"user_id": name, "churn_level": "high"} for name in ("u1", "u2")])
    assert make(conn, now).figure("churn_high")["value"] == 2
    assert make(conn, now, BEFORE).figure("churn_high")["value"] is None


@pytest.mark.parametrize(("week", "code"), [(date(2026, 2, 23), "not_a_sunday"), (date(2026, 3, 1), "week_not_over")])
def test_a_week_is_a_sunday_that_is_over(conn: Connection, now: datetime, week: date, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        make(conn, now, week)
    assert (refused.value.field, refused.value.code) == ("week", code)


def test_a_report_that_was_not_made_says_how_to_make_it(conn: Connection, now: datetime) -> None:
    with pytest.raises(NotFound, match="oracle run weekly --date 2026-02-22"):
        ceo_report.get(conn, WEEK)
    make(conn, now, BEFORE)
    assert ceo_report.get(conn).week == BEFORE
