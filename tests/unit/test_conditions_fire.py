"""What conditions on the past set off: which events and changes fire a rule, which day anchors it, what is told."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import caps, decider, definition, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS, ProposeReport
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.guardrails import Limits
from oracle_lib.errors import Invalid
from oracle_lib.storage import tables
from oracle_lib.tell import cause
from tests import world

TODAY = date(2026, 3, 4)
LIMITS = Limits("production", consent_by_default=True, caps=caps.of(9, None, {}))
UNFINISHED = {"sequence": {"first": "lesson_start", "then_not": "lesson_complete", "within_days": 3}}
DORMANT = {"change": "engagementLevel", "to": "dormant", "from": "active", "within_days": 7}


def read(conditions: Mapping[str, object], trigger: str) -> Definition:
    body = {"name": "a rule", "trigger": trigger, "actionType": "dm", "holdout": 0, "actionData": {"content": "Hi"}}
    return definition.read({**body, "conditions": conditions})


def run(conn: Connection, now: datetime) -> ProposeReport:
    return decider.propose(conn, as_of=TODAY, now=now, triggers=ALL_TRIGGERS, everyone=True, limits=LIMITS)


def user(conn: Connection, user_id: str, days: Mapping[int, Mapping[str, object]]) -> None:
    """Store a user with counts of events by how many days ago."""
    conn.execute(sa.insert(tables.users).values(id=user_id))
    for ago, counts in days.items():
        day = TODAY - timedelta(days=ago)
        conn.execute(sa.insert(tables.user_days).values({"user_id": user_id, "day": day, **counts}))


def proposals(conn: Connection) -> list[tuple[str, str, Mapping[str, object]]]:
    a = tables.actions.c
    made = sa.select(a.user_id, a.cause, a.trigger_data).where(a.triggered_by == "a rule")
    rows = conn.execute(made.order_by(a.user_id))
    return [(row.user_id, row.cause, row.trigger_data["matched"]) for row in rows]


@pytest.mark.parametrize(
    ("conditions", "fires_on"),
    [
        ({"sum": {"of": "revenue", "op": ">=", "value": 100}}, {"purchase", "upgrade"}),
        ({"sum": {"of": "refunds", "op": ">", "value": 0}}, {"refund"}),
        ({"sequence": {"first": "login", "then": "quiz_fail", "within_days": 2}}, {"login", "quiz_fail"}),
        (UNFINISHED, {"lesson_start"}),
    ],
)
def test_events_that_are_added_up_or_awaited_fire_a_rule(conditions: Mapping[str, object], fires_on: set[str]) -> None:
    assert read(conditions, "event_based").fires_on == fires_on


@pytest.mark.parametrize(
    "conditions",
    [
        {"sum": {"of": "revenue", "op": "<", "value": 100}},
        {"sum": {"of": "revenue", "op": ">=", "value": 0}},
        {"not": {"sequence": {"first": "login", "then": "quiz_fail", "within_days": 2}}},
        {"message": "not_opened", "within_days": 14},
    ],
)
def test_what_no_event_makes_true_cannot_fire_an_event_rule(conditions: Mapping[str, object]) -> None:
    with pytest.raises(Invalid) as refused:
        read(conditions, "event_based")
    assert refused.value.field == "conditions"


def test_changes_and_predictions_say_what_moves_a_rule_and_which_model_it_rests_on() -> None:
    changed = read({"all": [DORMANT, {"change": "churnLevel", "rose": True, "within_days": 7}]}, "segment_based")
    assert changed.moved_by == {"engagement_level", "churn_level"}
    assert changed.rests_on == {"churn"}
    predicted = read({"prediction": "churn", "op": ">=", "value": 60}, "segment_based")
    assert (predicted.moved_by, predicted.rests_on) == ({"churn_level"}, {"churn"})
    assert read({"all": [UNFINISHED, {"prediction": "upgrade", "op": ">", "value": 5}]}, "time_based").rests_on == {
        "upgrade"
    }


def test_a_change_fires_for_those_who_made_it_and_is_told(conn: Connection, now: datetime) -> None:
    rules_engine.create(conn, read(DORMANT, "segment_based"), actor="anna", now=now)
    for user_id, old, ago in (("u1", "active", 1), ("u2", "moderate", 1), ("u3", "active", 7)):
        user(conn, user_id, {})
        change = {"field": "engagement_level", "old": old, "new": "dormant", "as_of": TODAY - timedelta(days=ago)}
        conn.execute(sa.insert(tables.segment_changes).values(user_id=user_id, changed_at=now, **change))
    run(conn, now)
    made = proposals(conn)
    assert [(user_id, matched) for user_id, _, matched in made] == [
        ("u1", {"engagementLevel changed from active to dormant in 7 days": "2026-03-03"})
    ]


def test_what_did_not_follow_fires_once_its_days_are_over_and_once_a_gap(conn: Connection, now: datetime) -> None:
    rules_engine.create(conn, read(UNFINISHED, "time_based"), actor="anna", now=now)
    user(conn, "u1", {3: {"lesson_start": 1}})
    user(conn, "u2", {2: {"lesson_start": 1}})
    user(conn, "u3", {3: {"lesson_start": 1}, 1: {"lesson_complete": 1}})
    user(conn, "u4", {3: {"lesson_start": 1}, 0: {"lesson_complete": 1}})
    assert run(conn, now).proposed == 2
    told = {"lesson_start without lesson_complete in 3 days": "2026-03-01"}
    named = "lesson_start@2026-03-01!lesson_complete<3"
    assert proposals(conn) == [("u1", named, told), ("u4", named, told)]
    assert run(conn, now + timedelta(minutes=1)).proposed == 0
    assert cause.parse(named, "time_based") == cause.UnfollowedCause(
        "lesson_start", date(2026, 3, 1), "lesson_complete", 3
    )
    kept = cause.Kept(proposed_at=now)
    (step,) = cause.steps(conn, "u1", cause.parse(named, "time_based"), kept)
    assert "The rule asked for no lesson_complete within 3 days." in step.detail


def test_a_silence_is_no_cause_before_it_has_lasted_long_enough(conn: Connection, now: datetime) -> None:
    """Whoever is picked by another condition of an `any` has nothing to be answered yet."""
    silent = {"days_since": {"event": "login", "op": ">=", "value": 7}}
    either = {"any": [silent, {"event": "purchase", "within_days": 30}]}
    rules_engine.create(conn, read(either, "time_based"), actor="anna", now=now)
    user(conn, "u1", {7: {"login": 1}})
    user(conn, "u2", {6: {"login": 1, "purchase": 1}})
    user(conn, "u3", {20: {"purchase": 1}})
    run(conn, now)
    assert [(user_id, named) for user_id, named, _ in proposals(conn)] == [("u1", "login@2026-02-25>=7")]


def test_sums_predictions_messages_and_progress_are_told_with_their_values(conn: Connection, now: datetime) -> None:
    conditions = {
        "all": [
            {"sum": {"of": "revenue", "op": ">=", "value": 100}, "within_days": 30},
            {"prediction": "upgrade", "op": ">=", "value": 60},
            {"progress": {"course": "python", "op": ">=", "value": 50}},
            {"message": "not_opened", "channel": "email", "template": "welcome", "within_days": 14},
        ]
    }
    rules_engine.create(conn, read(conditions, "event_based"), actor="anna", now=now)
    conn.execute(sa.insert(tables.courses).values(id="python", title="Python"))
    lessons = [{"course_id": "python", "id": f"l{n}", "title": "x", "position": n} for n in range(3)]
    conn.execute(sa.insert(tables.lessons), lessons)
    for user_id, lessons_done in (("u1", 2), ("u2", 1)):
        world.post(conn, [world.event(user_id, "purchase", now, messageId=f"m-{user_id}")], now)
        conn.execute(sa.insert(tables.user_days).values(user_id=user_id, day=TODAY, revenue="129.50", purchase=1))
        conn.execute(sa.insert(tables.segments).values(user_id=user_id, upgrade_prob=0.595))
        done = [
            {"user_id": user_id, "day": TODAY, "course_id": "python", "lesson_id": f"l{n}"} for n in range(lessons_done)
        ]
        conn.execute(sa.insert(tables.user_lessons), done)
        sent = sa.insert(tables.actions).values(
            user_id=user_id, action_type="email", template="welcome", content="x", content_hash="x", triggered_by="x"
        )
        conn.execute(sent)
    conn.execute(sa.update(tables.actions).values(status="executed", executed_at=now))
    assert run(conn, now).proposed == 1
    assert proposals(conn) == [
        (
            "u1",
            "m-u1",
            {
                "revenue in 30 days": "129.50",
                "probability of upgrade": 60,
                "progress in python": 67,
                "email welcome not opened in 14 days": 1,
            },
        )
    ]
