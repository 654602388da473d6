"""A message whose rule asks for the user's best time is scheduled into it when it is approved."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import definition, rules_engine
from oracle_lib.errors import Invalid
from oracle_lib.execute import answers, approvals, moves, policies
from oracle_lib.execute.answers import Answer
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.moves import UNSEEN
from oracle_lib.execute.records import Action
from oracle_lib.storage.tables import actions, segments, users

RULE = {
    "name": "greet",
    "trigger": "event_based",
    "conditions": {"event": "login"},
    "actionType": "dm",
    "holdout": 0,
    "actionData": {"content": "Hi"},
    "sendAt": "best_time",
}
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def proposed(conn: Connection, now: datetime, zone: str | None, part: str | None, **rule: object) -> Action:
    """Propose a rule's message to a user; return it as it stands."""
    made = rules_engine.create(conn, definition.read({**RULE, **rule}), actor="anna", now=now)
    conn.execute(sa.insert(users).values(id="ada", time_zone=zone))
    conn.execute(sa.insert(segments).values(user_id="ada", best_contact_time=part))
    action = approvals.create(conn, Draft("ada", "dm", "Hi"), actor="rule", now=now)
    conn.execute(sa.update(actions).values(rule_id=made.id, rule_version=1, cause="m1"))
    return action


@pytest.mark.parametrize(
    ("now", "zone", "part", "goes"),
    [
        pytest.param(NOON, "Europe/Berlin", "evening", datetime(2026, 3, 4, 16, tzinfo=UTC), id="later today"),
        pytest.param(NOON, "Europe/Berlin", "morning", datetime(2026, 3, 5, 4, tzinfo=UTC), id="tomorrow"),
        pytest.param(NOON, "Europe/Berlin", "afternoon", None, id="it is that time: at once"),
        pytest.param(NOON, "Asia/Kolkata", "evening", None, id="it is that time elsewhere: at once"),
        pytest.param(NOON, None, "evening", None, id="no time zone: at once"),
        pytest.param(NOON, "Europe/Berlin", None, None, id="no part is known: at once"),
        pytest.param(
            datetime(2026, 3, 28, 23, 30, tzinfo=UTC),
            "Europe/Berlin",
            "morning",
            datetime(2026, 3, 29, 3, tzinfo=UTC),
            id="the night in which the clocks go forward",
        ),
        pytest.param(
            datetime(2026, 10, 24, 12, 0, tzinfo=UTC),
            "Europe/Berlin",
            "morning",
            datetime(2026, 10, 25, 4, tzinfo=UTC),
            id="over the night in which they go back",
        ),
    ],
)
def test_an_approved_message_waits_for_the_part_of_the_day_in_which_its_user_comes(
    conn: Connection, now: datetime, zone: str | None, part: str | None, goes: datetime | None
) -> None:
    action = proposed(conn, now, zone, part)
    assert approvals.approve(conn, action.id, actor="bea", now=now).scheduled_at == goes


def test_what_a_policy_approves_waits_too(conn: Connection) -> None:
    proposed(conn, NOON, "Europe/Berlin", "evening", approval="auto")
    assert policies.approve_by_policy(conn, NOON) == 1
    assert conn.scalar(sa.select(actions.c.scheduled_at)) == datetime(2026, 3, 4, 16, tzinfo=UTC)


def test_of_many_approved_at_once_each_waits_for_its_own_time_and_all_are_asked_for_together(conn: Connection) -> None:
    rule_id = conn.scalar(sa.select(actions.c.rule_id).where(actions.c.id == proposed(conn, NOON, None, None).id))
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    sa.event.listen(conn.engine, "before_cursor_execute", note)
    try:
        asked_for = [_approve_many(conn, rule_id, statements, count) for count in (2, 20)]
    finally:
        sa.event.remove(conn.engine, "before_cursor_execute", note)
    assert asked_for[0] == asked_for[1]
    evening, morning = datetime(2026, 3, 4, 16, tzinfo=UTC), datetime(2026, 3, 5, 4, tzinfo=UTC)
    asked = sa.select(actions.c.user_id, actions.c.scheduled_at).where(actions.c.user_id != "ada")
    found = {(row.user_id.partition("-")[0], row.scheduled_at) for row in conn.execute(asked)}
    assert found == {("evening", evening), ("morning", morning)}


def _approve_many(conn: Connection, rule_id: UUID | None, statements: list[str], count: int) -> int:
    """Approve as many actions in one answer; return how many statements that took."""
    ids = []
    for number in range(count):
        part = ("evening", "morning")[number % 2]
        name = f"{part}-{count}-{number}"
        conn.execute(sa.insert(users).values(id=name, time_zone="Europe/Berlin"))
        conn.execute(sa.insert(segments).values(user_id=name, best_contact_time=part))
        action = approvals.create(conn, Draft(name, "dm", "Hi"), actor="rule", now=NOON)
        named = {"rule_id": rule_id, "rule_version": 1, "cause": name}
        conn.execute(sa.update(actions).where(actions.c.id == action.id).values(named))
        ids.append(action.id)
    before = len(statements)
    plan = answers.plan(conn, Answer("approved"), ids, actor="bea", now=NOON)
    moves.make(conn, dict.fromkeys(ids, UNSEEN), plan, actor="bea", now=NOON)
    return len(statements) - before


def test_a_moment_that_a_person_chose_stands(conn: Connection) -> None:
    action = proposed(conn, NOON, "Europe/Berlin", "evening")
    chosen = NOON + timedelta(minutes=5)
    conn.execute(sa.update(actions).values(scheduled_at=chosen))
    assert approvals.approve(conn, action.id, actor="bea", now=NOON).scheduled_at == chosen


def test_without_asking_it_goes_at_once(conn: Connection) -> None:
    action = proposed(conn, NOON, "Europe/Berlin", "evening", sendAt="at_once")
    assert approvals.approve(conn, action.id, actor="bea", now=NOON).scheduled_at is None


def test_it_is_read_written_and_refused_where_nobody_is_reached() -> None:
    assert definition.wire(definition.read(RULE))["sendAt"] == "best_time"
    with pytest.raises(Invalid) as refused:
        definition.read({**RULE, "sendAt": "noon"})
    assert refused.value.field == "sendAt"
    alert = {"actionType": "alert", "actionData": {"content": "Look", "team": "support"}}
    with pytest.raises(Invalid):
        definition.read({**RULE, **alert})
