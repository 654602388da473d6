"""G4: however many evaluations run at once, and however often a rule is published, a cause is proposed once.

Control: looking whether it is there and then inserting, without the lock and the unique key, proposes it twice.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import caps, decider, definition, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS
from oracle_lib.decide.guardrails import Limits
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, activity, rules, skips, users
from tests.conftest import FULL

TODAY = date(2026, 3, 4)
LIMITS = Limits("production", consent_by_default=True, caps=caps.of(2, None, {}))
USERS, RUNS = (10_000, 16) if FULL else (400, 6)
BODY = {
    "name": "back",
    "trigger": "time_based",
    "conditions": {"days_since": {"event": "activity", "op": ">=", "value": 7}},
    "actionType": "dm",
    "holdout": 0,
    "actionData": {"content": "Hi"},
    "cooldown": 0,
}


def silent_users(conn: Connection) -> None:
    ids = [f"u{number}" for number in range(USERS)]
    conn.execute(sa.insert(users), [{"id": user_id} for user_id in ids])
    last = TODAY - timedelta(days=7)
    conn.execute(sa.insert(activity), [{"user_id": user_id, "last_active_on": last} for user_id in ids])


def at_once(work: Callable[[], None], workers: int = RUNS) -> None:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def proposals(store: Store) -> tuple[int, int]:
    with store.transaction() as conn:
        query = sa.select(sa.func.count(), sa.func.count(sa.distinct(actions.c.user_id)))
        total, people = conn.execute(query).one()
        return total, people


def test_evaluations_at_once_propose_each_cause_once_and_a_new_version_nothing_again(
    database_url: str, now: datetime
) -> None:
    store = Store(database_url, pool_size=RUNS)
    with store.transaction() as conn:
        silent_users(conn)
        rule = rules_engine.create(conn, definition.read(BODY), actor="anna", now=now)
    barrier = threading.Barrier(RUNS)
    reports: list[decider.ProposeReport] = []

    def evaluate() -> None:
        barrier.wait()
        with store.transaction() as conn:
            reports.append(
                decider.propose(conn, as_of=TODAY, now=now, triggers=ALL_TRIGGERS, everyone=True, limits=LIMITS)
            )

    at_once(evaluate)
    assert sum(report.proposed for report in reports) == USERS
    assert proposals(store) == (USERS, USERS)
    with store.transaction() as conn:
        changed = replace(rule.definition, action=definition.Message(definition.Words("Hello again")), priority=9)
        rules_engine.publish(conn, rule.id, changed, actor="anna", now=now)
    later = now + timedelta(hours=30)
    with store.transaction() as conn:
        again = decider.propose(conn, as_of=TODAY, now=later, triggers=ALL_TRIGGERS, everyone=True, limits=LIMITS)
    assert (again.rules, again.matched, again.proposed) == (1, USERS, 0)
    assert proposals(store) == (USERS, USERS)
    store.close()


def test_of_five_rules_that_hit_a_user_at_once_the_most_urgent_is_proposed_and_four_are_told_why(
    database_url: str, now: datetime
) -> None:
    workers = 8
    store = Store(database_url, pool_size=workers)
    with store.transaction() as conn:
        silent_users(conn)
        for priority in (3, 9, 1, 7, 5):
            body = {**BODY, "name": f"rule {priority}", "priority": priority}
            rules_engine.create(conn, definition.read(body), actor="anna", now=now)
    one_a_day = Limits("production", consent_by_default=True, caps=caps.of(1, None, {}))
    barrier = threading.Barrier(workers)

    def evaluate() -> None:
        barrier.wait()
        with store.transaction() as conn:
            decider.propose(conn, as_of=TODAY, now=now, triggers=ALL_TRIGGERS, everyone=True, limits=one_a_day)

    at_once(evaluate, workers)
    with store.transaction() as conn:
        assert set(conn.scalars(sa.select(actions.c.triggered_by))) == {"rule 9"}
        why = sa.select(skips.c.user_id, skips.c.reason, rules.c.name).join(rules, rules.c.id == skips.c.rule_id)
        told = Counter((row.name, row.reason) for row in conn.execute(why))
    assert proposals(store) == (USERS, USERS)
    assert told == {(f"rule {priority}", "daily_cap"): USERS for priority in (1, 3, 5, 7)}
    store.close()


_LOOK = "SELECT u.id FROM users u WHERE NOT EXISTS (SELECT 1 FROM actions a WHERE a.user_id = u.id)"
_INSERT = (
    "INSERT INTO actions (user_id, action_type, content, content_hash, triggered_by, rule_id, cause)"
    " SELECT id, 'dm', 'Hi', 'hash', 'back', CAST(:rule AS uuid), 'silence' FROM unnest(CAST(:ids AS text[])) AS id"
)


@pytest.mark.parametrize(("kept", "expected"), [("unique key", USERS), ("nothing", USERS * RUNS)])
def test_control_looking_and_then_inserting_needs_the_unique_key(
    database_url: str, now: datetime, kept: str, expected: int
) -> None:
    store = Store(database_url, pool_size=RUNS)
    with store.transaction() as conn:
        silent_users(conn)
        rule = rules_engine.create(conn, definition.read(BODY), actor="anna", now=now)
        if kept == "nothing":
            conn.execute(sa.text("ALTER TABLE actions DROP CONSTRAINT uq_actions_rule_id_user_id_cause"))
    barrier = threading.Barrier(RUNS)

    def naive() -> None:
        with store.transaction() as conn:
            ids = list(conn.execute(sa.text(_LOOK)).scalars())
            barrier.wait()
            conn.execute(sa.text(_INSERT + " ON CONFLICT DO NOTHING"), {"rule": rule.id, "ids": ids})

    at_once(naive)
    assert proposals(store) == (expected, USERS)
    store.close()
