"""Many messages go out at the pace that was set, and what harms the sender's name stops by itself."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from oracle_lib.decide import definition, rule_life, rules_engine
from oracle_lib.execute import approvals, executor, reputation, stops
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.reputation import Harm
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, outcomes, rules, users

RULE = {
    "name": "greet",
    "trigger": "event_based",
    "conditions": {"event": "login"},
    "actionType": "dm",
    "holdout": 0,
    "actionData": {"content": "Hi"},
}


def approved(store: Store, count: int, *, of_rule: bool = False, kind: str = "dm") -> UUID | None:
    """Approve messages to as many users, by hand or of one rule; return the rule."""
    now = datetime.now(UTC)
    with store.transaction() as conn:
        people = [{"id": f"u{number}", "is_test": True} for number in range(count)]
        conn.execute(sa.insert(users), people)
        for person in people:
            made = approvals.create(conn, Draft(str(person["id"]), kind, "Hi", subject="Hi"), actor="anna", now=now)
            approvals.approve(conn, made.id, actor="bea", now=now)
        if not of_rule:
            return None
        rule = rules_engine.create(conn, definition.read(RULE), actor="anna", now=now)
        conn.execute(sa.update(actions).values(rule_id=rule.id, rule_version=1, cause="m1"))
        return rule.id


def run(store: Store, **paced: object) -> executor.ExecuteReport:
    settings = Settings(environment="test", **paced)
    return executor.run_due(store, settings=settings, owner="me")


def let_pass(store: Store, time: timedelta) -> None:
    with store.transaction() as conn:
        moved = {name: actions.c[name] - time for name in ("first_attempt_at", "executed_at", "next_attempt_at")}
        conn.execute(sa.update(actions).values(moved))


def reasons(store: Store) -> set[str | None]:
    with store.transaction() as conn:
        query = sa.select(actions.c.reason).where(actions.c.status == "approved")
        return set(conn.execute(query).scalars())


def test_a_channel_sends_no_more_an_hour_than_it_may(store: Store) -> None:
    approved(store, 10)
    assert run(store, hourly_caps={"dm": 4}).executed == 4
    assert reasons(store) == {"hourly_cap"}
    assert run(store, hourly_caps={"dm": 4}).taken == 0
    let_pass(store, timedelta(minutes=61))
    assert run(store, hourly_caps={"dm": 4}).executed == 4


def test_what_is_over_the_cap_waits_without_losing_a_try_and_transactional_messages_go(store: Store) -> None:
    approved(store, 3)
    with store.transaction() as conn:
        last = sa.select(sa.func.max(actions.c.user_id)).scalar_subquery()
        conn.execute(sa.update(actions).where(actions.c.user_id == last).values(message_class="transactional"))
    assert run(store, hourly_caps={"dm": 1}).executed == 2
    with store.transaction() as conn:
        held = conn.execute(sa.select(actions).where(actions.c.status == "approved")).one()
    assert (held.attempts, held.first_attempt_at, held.reason) == (0, None, "hourly_cap")


def test_a_large_audience_is_reached_in_steps_that_double(store: Store) -> None:
    approved(store, 20, of_rule=True)
    sent = []
    for _ in range(4):
        sent.append(run(store, slow_start=2).executed)
        let_pass(store, timedelta(minutes=61))
    assert sent == [2, 4, 8, 6]


def test_a_small_audience_and_what_people_write_go_at_once(store: Store) -> None:
    approved(store, 5, of_rule=True)
    assert run(store, slow_start=5).executed == 5


def test_without_a_slow_start_everything_goes_at_once(store: Store) -> None:
    approved(store, 5, of_rule=True)
    assert run(store, slow_start=None).executed == 5


@pytest.mark.parametrize(
    ("sent", "bounced", "complained", "harmful"),
    [
        (100, 5, 0, False),
        (100, 6, 0, True),
        (99, 50, 0, False),
        (1_000, 0, 1, False),
        (1_000, 0, 2, True),
        (2_000, 0, 2, False),
        (999, 0, 30, False),
    ],
)
def test_harm_is_a_rate_among_enough(sent: int, bounced: int, complained: int, harmful: bool) -> None:
    assert (Harm("dm", sent, bounced, complained).reason is not None) is harmful


def bounce(store: Store, count: int) -> None:
    with store.transaction() as conn:
        some = sa.select(actions.c.id, sa.literal("bounced"), sa.func.now(), actions.c.user_id)
        found = some.where(actions.c.status == "executed").limit(count)
        conn.execute(sa.insert(outcomes).from_select(["action_id", "kind", "at", "user_id"], found))


def test_a_rule_that_bounces_is_paused_and_what_is_approved_of_it_waits(store: Store) -> None:
    rule_id = approved(store, 110, of_rule=True)
    assert run(store, slow_start=100).executed == 100
    bounce(store, 6)
    with store.transaction() as conn:
        said = reputation.protect(conn)
        assert len(said) == 2
        stops.resume(conn, "dm", actor="anna", now=datetime.now(UTC))
        assert conn.scalar(sa.select(rules.c.pause_reason)) == "6 of 100 messages of the last day bounced"
    let_pass(store, timedelta(minutes=61))
    assert (run(store).executed, reasons(store)) == (0, {"rule_paused"})
    with store.transaction() as conn:
        assert rule_id is not None
        rule_life.resume(conn, rule_id, actor="anna", now=datetime.now(UTC))
        assert reputation.protect(conn) == [], "what was before is answered for"
        conn.execute(sa.update(actions).values(next_attempt_at=None))
    assert run(store).executed == 10


def test_a_channel_that_bounces_is_stopped(store: Store) -> None:
    approved(store, 100)
    run(store)
    bounce(store, 6)
    with store.transaction() as conn:
        assert reputation.protect(conn) == ["Sending of dm is stopped: 6 of 100 messages of the last day bounced."]
        [stopped] = stops.listing(conn)
        assert (stopped.scope, stopped.stopped_by) == ("dm", "reputation")
        assert reputation.protect(conn) == []
