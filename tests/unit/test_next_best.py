"""The next best action: what was seen to help more, to whom it is said where they listen, and never what may not be."""

from datetime import date, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import caps, definition, next_best, rules_engine
from oracle_lib.decide.expected_effects import Measured, shrink
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.next_best import NextBest
from oracle_lib.errors import NotFound
from oracle_lib.storage.tables import action_changes, actions, activity, habits, rule_effects, rules, segments, users
from oracle_lib.tell import lineage

TODAY = date(2026, 3, 4)
LIMITS = Limits("production", consent_by_default=True, caps=caps.of(2, None, {}))
SILENT = {"days_since": {"event": "activity", "op": ">=", "value": 7}}


def rule(conn: Connection, now: datetime, name: str, *, effect: float | None = None, **fields: object) -> UUID:
    body = {
        "name": name,
        "trigger": "time_based",
        "conditions": SILENT,
        "actionType": "dm",
        "actionData": {"content": f"Hello from {name}, {{{{ first_name or 'you' }}}}"},
        "goal": {"event": "lesson_complete", "within_days": 3},
        "holdout": 0,
        **fields,
    }
    made = rules_engine.create(conn, definition.read(body), actor="anna", now=now)
    if effect is not None:
        measured = {"rule_id": made.id, "difference": effect, "standard_error": 0.01, "users": 4000}
        conn.execute(sa.insert(rule_effects).values(measured))
    return made.id


def user(conn: Connection, name: str, *, risk: float = 0.5, **fields: object) -> None:
    conn.execute(sa.insert(users).values(id=name, **fields))
    conn.execute(sa.insert(activity).values(user_id=name, last_active_on=TODAY - timedelta(days=8)))
    made = {"user_id": name, "engagement_level": "active", "engagement_score": 50, "lifecycle": "lead"}
    conn.execute(sa.insert(segments).values({**made, "churn_risk": risk}))


def best(conn: Connection, now: datetime, name: str = "u1") -> NextBest | None:
    return next_best.for_user(conn, name, as_of=TODAY, now=now, limits=LIMITS)


def chosen(conn: Connection, now: datetime, name: str = "u1") -> str | None:
    found = best(conn, now, name)
    return found.rule_name if found else None


def test_the_rule_that_was_seen_to_help_more_is_chosen_and_says_why(conn: Connection, now: datetime) -> None:
    rule(conn, now, "weak", effect=0.01)
    strong = rule(conn, now, "strong", effect=0.12)
    user(conn, "u1", first_name="Ada", risk=0.5)
    found = best(conn, now)
    assert found is not None
    assert (found.rule_name, found.rule_id, found.action_type) == ("strong", strong, "dm")
    assert found.content == "Hello from strong, Ada"
    assert [one.rule_name for one in found.choices] == ["strong", "weak"]
    assert "on 4,000 users it raised lesson_complete within 3 days by 12.0 points" in found.reasoning
    assert "urgency 1.0 by churn risk" in found.reasoning


def test_asking_writes_nothing(conn: Connection, now: datetime) -> None:
    rule(conn, now, "strong", holdout=50)
    user(conn, "u1")
    best(conn, now)
    for table in ("actions", "skips", "assignments"):
        assert conn.scalar(sa.text(f"SELECT count(*) FROM {table}")) == 0


def test_a_user_is_spoken_to_where_they_answer(conn: Connection, now: datetime) -> None:
    rule(conn, now, "by mail", effect=0.05, actionType="email", actionData={"subject": "Hi", "content": "Hi"})
    rule(conn, now, "by dm", effect=0.05)
    for number in range(20):
        conn.execute(sa.insert(users).values(id=f"other{number}"))
        counts = {"emails_sent": 10, "emails_answered": 3, "dms_sent": 10, "dms_answered": 3}
        conn.execute(sa.insert(habits).values(user_id=f"other{number}", **counts))
    user(conn, "reads")
    conn.execute(sa.insert(habits).values(user_id="reads", emails_sent=20, emails_answered=18, dms_sent=20))
    user(conn, "talks")
    conn.execute(sa.insert(habits).values(user_id="talks", emails_sent=20, dms_sent=20, dms_answered=18))
    assert (chosen(conn, now, "reads"), chosen(conn, now, "talks")) == ("by mail", "by dm")


def test_who_may_leave_is_won_back_and_who_stays_may_be_sold_to(conn: Connection, now: datetime) -> None:
    rule(conn, now, "win back", effect=0.05)
    rule(conn, now, "sell", effect=0.05, goal={"event": "purchase", "within_days": 14})
    user(conn, "leaves", risk=0.9)
    user(conn, "stays", risk=0.1)
    assert (chosen(conn, now, "leaves"), chosen(conn, now, "stays")) == ("win back", "sell")


def test_what_may_not_be_said_is_not_chosen(conn: Connection, now: datetime) -> None:
    rule(conn, now, "by mail", effect=0.2, actionType="email", actionData={"subject": "Hi", "content": "Hi"})
    rule(conn, now, "by dm", effect=0.01)
    user(conn, "u1", consent={"email": False})
    assert chosen(conn, now) == "by dm"
    user(conn, "u2", consent={"email": False, "dm": False})
    assert best(conn, now, "u2") is None


def test_a_starter_stands_in_where_the_installation_has_no_rules(conn: Connection, now: datetime) -> None:
    user(conn, "u1")
    conn.execute(sa.update(segments).values(lifecycle="active"))
    found = best(conn, now)
    assert found is not None
    assert (found.rule_name, found.rule_id) == ("win-back", None)
    assert "it was not measured here yet" in found.reasoning


def test_switched_on_it_proposes_the_best_to_whom_nothing_waits_once_a_week(conn: Connection, now: datetime) -> None:
    rule(conn, now, "weak", effect=0.01)
    strong = rule(conn, now, "strong", effect=0.12, cooldown=0)
    user(conn, "u1")
    user(conn, "u2")
    waiting = {"user_id": "u2", "action_type": "dm", "content": "Hi", "content_hash": "x", "triggered_by": "manual"}
    conn.execute(sa.insert(actions).values(waiting))
    report = next_best.propose(conn, as_of=TODAY, now=now, limits=LIMITS)
    assert (report.proposed, report.by_rule) == (1, {"strong": 1})
    row = conn.execute(sa.select(actions).where(actions.c.user_id == "u1")).one()
    assert (row.triggered_by, row.rule_id, row.cause, row.status) == (
        "ai_decision",
        strong,
        "next_best@2026-W10",
        "pending",
    )
    assert row.trigger_data["fired"]["effect"] > 0.1
    assert conn.scalar(sa.select(action_changes.c.verb).where(action_changes.c.action_id == row.id)) == "proposed"
    assert conn.scalar(sa.select(rules.c.times_triggered).where(rules.c.id == strong)) == 1
    assert next(step.title for step in lineage.trace(conn, row.id).steps) == "Chosen as the next best action"
    conn.execute(sa.update(actions).where(actions.c.user_id == "u1").values(status="rejected"))
    again = next_best.propose(conn, as_of=TODAY, now=now + timedelta(hours=1), limits=LIMITS)
    assert again.by_rule == {"weak": 1}


def test_an_unknown_user_is_not_found(conn: Connection, now: datetime) -> None:
    with pytest.raises(NotFound):
        best(conn, now, "nobody")


def test_what_little_is_known_of_is_drawn_towards_the_rules_at_large() -> None:
    sure = Measured(UUID(int=1), 0.10, 0.005, 9000)
    lucky = Measured(UUID(int=2), 0.30, 0.15, 120)
    usual = [Measured(UUID(int=3 + n), 0.02 + 0.01 * n, 0.01, 4000) for n in range(4)]
    effects = shrink([sure, lucky, *usual])
    assert effects.of(sure.rule_id).effect == pytest.approx(0.10, abs=0.005)
    assert effects.of(lucky.rule_id).effect < effects.of(sure.rule_id).effect
    assert 0.02 < effects.of(UUID(int=99)).effect < 0.08
    assert shrink([]).of(UUID(int=1)).effect == pytest.approx(0.03)
