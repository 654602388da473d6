"""Outcomes: each kind once an action, each goal event for one action, nothing twice."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.learn.outcomes import OutcomesReport, attribute
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import actions, outcomes, rule_versions, rules

DOOR = Door(source="test", limits=Limits(currency="USD"))
SENT = datetime(2026, 2, 20, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rule(conn: Connection, goal: dict[str, object] | None) -> uuid.UUID:
    found: uuid.UUID = conn.execute(
        sa.insert(rules).returning(rules.c.id),
        {
            "name": f"rule {uuid.uuid4()}",
            "trigger": "event_based",
            "conditions": {},
            "action_type": "email",
            "action_data": {},
        },
    ).scalar_one()
    conn.execute(sa.insert(rule_versions), {"rule_id": found, "version": 1, "definition": {"goal": goal}})
    return found


def executed(
    conn: Connection, rule_id: uuid.UUID | None, at: datetime = SENT, channel: str | None = "outbox"
) -> uuid.UUID:
    made: uuid.UUID = conn.execute(
        sa.insert(actions).returning(actions.c.id),
        {
            "user_id": "u1",
            "action_type": "email",
            "content": "Hello",
            "content_hash": "h",
            "approved_hash": "h",
            "triggered_by": "manual",
            "rule_id": rule_id,
            "rule_version": 1 if rule_id else None,
            "cause": str(uuid.uuid4()),
        },
    ).scalar_one()
    one = sa.update(actions).where(actions.c.id == made)
    conn.execute(one.values(status="approved"))
    conn.execute(one.values(status="executed", executed_at=at, channel=channel))
    return made


def event(conn: Connection, now: datetime, name: str, at: datetime, **metadata: object) -> str:
    message_id = str(uuid.uuid4())
    body = {"userId": "u1", "event": name, "timestamp": at.isoformat(), "messageId": message_id, "metadata": metadata}
    assert ingest(conn, [json.dumps(body).encode()], door=DOOR, received_at=now).accepted == 1
    return message_id


def run(conn: Connection, now: datetime) -> OutcomesReport:
    return attribute(conn, now=now, settings=Settings())


def of(conn: Connection, action_id: uuid.UUID) -> dict[str, datetime]:
    rows = conn.execute(sa.select(outcomes.c.kind, outcomes.c.at).where(outcomes.c.action_id == action_id))
    return dict(rows.all())


def test_the_first_goal_event_within_the_window_converts_with_its_amount(conn: Connection, now: datetime) -> None:
    sold = executed(conn, rule(conn, {"event": "purchase", "within_days": 7}))
    event(conn, now, "purchase", SENT - HOUR, amount=1)
    first = event(conn, now, "purchase", SENT + HOUR, amount=49.9)
    event(conn, now, "purchase", SENT + 2 * HOUR, amount=99)
    assert run(conn, now).recorded == {"converted": 1, "delivered": 1}
    row = conn.execute(sa.select(outcomes).where(outcomes.c.kind == "converted")).one()
    assert (row.action_id, row.at, row.message_id, row.amount) == (sold, SENT + HOUR, first, Decimal("49.90"))


def test_a_goal_event_after_the_window_is_no_conversion(conn: Connection, now: datetime) -> None:
    made = executed(conn, rule(conn, {"event": "login", "within_days": 7}))
    event(conn, now, "login", SENT + timedelta(days=7, seconds=1))
    run(conn, now)
    assert set(of(conn, made)) == {"delivered"}


def test_a_goal_without_days_has_the_installations(conn: Connection, now: datetime) -> None:
    made = executed(conn, rule(conn, {"event": "login"}))
    event(conn, now, "login", SENT + timedelta(days=6))
    run(conn, now)
    assert "converted" in of(conn, made)


def test_an_action_without_a_goal_never_converts(conn: Connection, now: datetime) -> None:
    by_hand = executed(conn, None, channel=None)
    no_goal = executed(conn, rule(conn, None))
    event(conn, now, "login", SENT + HOUR)
    run(conn, now)
    assert of(conn, by_hand) == {}
    assert set(of(conn, no_goal)) == {"delivered"}


def test_a_goal_event_is_credited_to_the_newest_action_before_it_only(conn: Connection, now: datetime) -> None:
    goal: dict[str, object] = {"event": "lesson_complete", "within_days": 7}
    older = executed(conn, rule(conn, goal), SENT)
    newer = executed(conn, rule(conn, goal), SENT + HOUR)
    event(conn, now, "lesson_complete", SENT + 2 * HOUR)
    event(conn, now, "lesson_complete", SENT + 3 * HOUR)
    run(conn, now)
    assert "converted" not in of(conn, older)
    assert of(conn, newer)["converted"] == SENT + 2 * HOUR


def test_a_credited_event_stays_with_its_action_when_a_newer_one_turns_out_to_be_executed(
    conn: Connection, now: datetime
) -> None:
    goal: dict[str, object] = {"event": "login", "within_days": 7}
    older = executed(conn, rule(conn, goal), SENT)
    event(conn, now, "login", SENT + 2 * HOUR)
    run(conn, now)
    settled_later = executed(conn, rule(conn, goal), SENT + HOUR)
    run(conn, now)
    assert "converted" in of(conn, older)
    assert "converted" not in of(conn, settled_later)


def test_responses_are_those_that_name_the_action(conn: Connection, now: datetime) -> None:
    email, dm, other = (executed(conn, None) for _ in range(3))
    event(conn, now, "email_open", SENT + HOUR, emailId=str(email))
    event(conn, now, "email_click", SENT + 2 * HOUR, emailId=str(email))
    event(conn, now, "dm_read", SENT + 3 * HOUR, actionId=str(dm))
    event(conn, now, "dm_reply", SENT + 4 * HOUR, actionId=str(dm))
    event(conn, now, "email_open", SENT + HOUR, emailId="somebody else's")
    event(conn, now, "email_open", SENT + HOUR)
    run(conn, now)
    assert of(conn, email) == {"delivered": SENT, "opened": SENT + HOUR, "clicked": SENT + 2 * HOUR}
    assert of(conn, dm) == {"delivered": SENT, "opened": SENT + 3 * HOUR, "replied": SENT + 4 * HOUR}
    assert set(of(conn, other)) == {"delivered"}


def test_a_second_attribution_writes_nothing(conn: Connection, now: datetime) -> None:
    made = executed(conn, rule(conn, {"event": "login", "within_days": 7}))
    event(conn, now, "login", SENT + HOUR)
    event(conn, now, "email_open", SENT + HOUR, emailId=str(made))
    run(conn, now)
    rows = conn.execute(sa.select(outcomes, sa.literal_column("xmin"), sa.literal_column("ctid::text"))).all()
    assert run(conn, now + HOUR) == OutcomesReport(actions=1)
    assert conn.execute(sa.select(outcomes, sa.literal_column("xmin"), sa.literal_column("ctid::text"))).all() == rows


def test_an_older_event_that_comes_late_moves_the_outcome_back_and_a_newer_one_never_forward(
    conn: Connection, now: datetime
) -> None:
    made = executed(conn, None)
    event(conn, now, "email_open", SENT + 5 * HOUR, emailId=str(made))
    run(conn, now)
    event(conn, now, "email_open", SENT + HOUR, emailId=str(made))
    event(conn, now, "email_open", SENT + 9 * HOUR, emailId=str(made))
    assert run(conn, now).moved == 1
    assert of(conn, made)["opened"] == SENT + HOUR


def test_an_event_after_now_is_not_seen(conn: Connection, now: datetime) -> None:
    made = executed(conn, rule(conn, {"event": "login", "within_days": 7}))
    event(conn, now, "login", SENT + 2 * HOUR)
    run(conn, SENT + HOUR)
    assert set(of(conn, made)) == {"delivered"}
