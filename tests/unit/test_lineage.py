"""Lineage: every link of an action's chain is a row that was written when it happened."""

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import decider, definition, rules_engine
from oracle_lib.errors import NotFound
from oracle_lib.execute import approvals, executor
from oracle_lib.learn.outcomes import attribute
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, events, messages, segment_changes
from oracle_lib.tell import cause, lineage
from oracle_lib.tell.lineage import Lineage, trace
from tests.world import event, post, run_stages

BODY: dict[str, object] = {
    "actionType": "dm",
    "holdout": 0,
    "actionData": {"content": "Well done!"},
    "goal": {"event": "quiz_pass", "within_days": 3},
}
TRIGGERS: dict[str, dict[str, object]] = {
    "event_based": {"event": "lesson_complete", "within_days": 2},
    "segment_based": {"segment": "lifecycle", "op": "=", "value": "new"},
    "time_based": {"days_since": {"event": "lesson_complete", "op": ">=", "value": 1}},
}


def proposed(conn: Connection, now: datetime, trigger: str) -> uuid.UUID:
    """A lesson done yesterday, a rule of `trigger` that it fires, and the action that follows."""
    body = {**BODY, "name": trigger, "trigger": trigger, "conditions": TRIGGERS[trigger]}
    rules_engine.create(conn, definition.read(body), actor="ana", now=now)
    at = now - timedelta(days=1)
    facts = {"courseId": "c1", "lessonId": "l1"}
    post(conn, [event("u1", "lesson_complete", at, messageId="m1", metadata=facts)], now)
    run_stages(conn, now.date())
    decider.propose(conn, as_of=now.date(), now=now, triggers=decider.ALL_TRIGGERS, everyone=True)
    return conn.scalars(sa.select(actions.c.id)).one()


def kinds(found: Lineage) -> list[str]:
    return [step.kind for step in found.steps]


def of(found: Lineage, kind: str) -> list[cause.Step]:
    return [step for step in found.steps if step.kind == kind]


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_the_chain_reads_from_the_event_to_the_outcome(store: Store, now: datetime, trigger: str) -> None:
    with store.transaction() as conn:
        action_id = proposed(conn, now, trigger)
        approvals.approve(conn, action_id, actor="ana", now=now)
    executor.run_due(store, settings=Settings(), owner="test")
    with store.transaction() as conn:
        sent = conn.scalars(sa.select(actions.c.executed_at)).one()
        post(conn, [event("u1", "quiz_pass", sent + timedelta(hours=1), messageId="m2")], sent + timedelta(hours=2))
        attribute(conn, now=sent + timedelta(hours=2), settings=Settings())
        found = trace(conn, action_id)
        kept = conn.scalars(sa.select(messages.c.id)).one()
    assert list(dict.fromkeys(kinds(found))) == list(lineage.LINKS)
    assert (found.steps[0].title, found.steps[0].reference) == ("lesson_complete", "event:m1")
    assert found.steps[0].at == now - timedelta(days=1)
    assert of(found, "rule")[0].title == f"{trigger}, version 1"
    assert [step.title for step in of(found, "approval")] == ["Approved by ana"]
    assert f"message:{kept}" in [step.reference for step in of(found, "delivery")]
    assert [(step.title, step.reference) for step in of(found, "outcome")][-1] == ("Converted", "event:m2")


def test_a_segment_rules_action_names_the_change_that_set_it_off(conn: Connection, now: datetime) -> None:
    found = trace(conn, proposed(conn, now, "segment_based"))
    change = conn.execute(sa.select(segment_changes).where(segment_changes.c.field == "lifecycle")).one()
    assert [(step.title, step.reference) for step in of(found, "segment")] == [
        ("Lifecycle became new", f"segment_change:{change.id}")
    ]


@pytest.mark.parametrize("trigger", ["segment_based", "time_based"])
def test_without_raw_events_the_counts_of_the_day_stand(conn: Connection, now: datetime, trigger: str) -> None:
    action_id = proposed(conn, now, trigger)
    conn.execute(sa.delete(events))
    first = trace(conn, action_id).steps[0]
    assert (first.kind, first.title, first.reference) == ("event", "The events of 2026-03-03", "user_day:u1@2026-03-03")
    assert "the day's counts stand: 1 events, 1 of them the user's own" in first.detail
    assert first.at == now - timedelta(days=1)


def test_an_event_that_is_gone_is_named_and_said_to_be_gone(conn: Connection, now: datetime) -> None:
    action_id = proposed(conn, now, "event_based")
    conn.execute(sa.delete(events))
    first = trace(conn, action_id).steps[0]
    assert (first.reference, first.at) == ("event:m1", now - timedelta(days=1))
    assert "no longer kept; the counts of its day stand" in first.detail


def test_a_refused_action_ends_with_the_refusal_and_its_reason(conn: Connection, now: datetime) -> None:
    action_id = proposed(conn, now, "event_based")
    approvals.approve(conn, action_id, actor="ana", now=now)
    approvals.undo(conn, action_id, actor="ana", now=now)
    approvals.reject(conn, action_id, actor="ben", now=now, reason="Not now.")
    found = trace(conn, action_id)
    assert kinds(found)[-1] == "approval"
    assert [step.title for step in of(found, "approval")] == ["Approved by ana", "Undone by ana", "Rejected by ben"]
    assert found.steps[-1].detail.endswith("Not now.")


def test_an_action_made_by_hand_has_no_event_and_no_rule(conn: Connection, now: datetime) -> None:
    post(conn, [event("u1", "login", now)], now)
    made = approvals.create(conn, approvals.Draft("u1", "dm", "Hello"), actor="ana", now=now)
    found = trace(conn, made.id)
    assert [(step.kind, step.title) for step in found.steps] == [("proposal", "Proposed by ana")]


def test_an_unknown_action_is_not_found(conn: Connection) -> None:
    with pytest.raises(NotFound):
        trace(conn, uuid.uuid4())


@pytest.mark.parametrize(
    ("text", "trigger", "meant"),
    [
        ("m-1", "event_based", cause.EventCause("m-1")),
        ("17", "event_based", cause.EventCause("17")),
        ("login@2026-03-01>7", "event_based", cause.EventCause("login@2026-03-01>7")),
        ("17", "segment_based", cause.ChangeCause(17)),
        ("segment_change:17", None, cause.ChangeCause(17)),
        ("login@2026-03-01>=7", "time_based", cause.SilenceCause("login", date(2026, 3, 1), ">= 7 days")),
        ("login@>7", "time_based", cause.SilenceCause("login", None, "> 7 days")),
        (
            "lesson_start@2026-03-01!lesson_complete<3",
            "time_based",
            cause.UnfollowedCause("lesson_start", date(2026, 3, 1), "lesson_complete", 3),
        ),
        ("something else", None, cause.EventCause("something else")),
    ],
)
def test_a_cause_is_read_by_its_rules_trigger_else_by_its_shape(
    text: str, trigger: str | None, meant: cause.Cause
) -> None:
    assert cause.parse(text, trigger) == meant


def test_moments_are_in_utc(conn: Connection, now: datetime) -> None:
    found = trace(conn, proposed(conn, now, "event_based"))
    assert all(step.at is None or step.at.tzinfo == UTC or step.at.utcoffset() == timedelta(0) for step in found.steps)
