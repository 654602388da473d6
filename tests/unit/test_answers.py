"""One answer to many actions, the time to take one back, and what a try that may have arrived makes of it."""

import threading
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib import clock
from oracle_lib.decide.definition import Words
from oracle_lib.errors import Conflict, NotFound
from oracle_lib.execute import answers, approvals, claims, executor, moves, records
from oracle_lib.execute.answers import Answer
from oracle_lib.execute.approvals import Draft, Settlement
from oracle_lib.execute.moves import UNSEEN, Seen
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, audit_log, users
from tests.conftest import FULL

SETTINGS = Settings(environment="test")
MANY = 300 if FULL else 60


def proposed(conn: Connection, now: datetime, count: int = 1) -> list[records.Action]:
    conn.execute(sa.text("INSERT INTO users (id) VALUES ('u1') ON CONFLICT DO NOTHING"))
    return [approvals.create(conn, Draft("u1", "dm", f"Hi {n}"), actor="anna", now=now) for n in range(count)]


def test_each_of_many_moves_or_says_why_not_whatever_becomes_of_the_others(conn: Connection, now: datetime) -> None:
    fresh, answered, edited = proposed(conn, now, 3)
    approvals.reject(conn, answered.id, actor="bea", now=now, reason=None)
    approvals.edit(conn, edited.id, actor="bea", now=now, words=Words("Hello"))
    nobody = UUID(int=0)
    asked = {one.id: Seen(one.version, one.content_hash) for one in (edited, fresh, answered)} | {nobody: UNSEEN}
    plan = answers.plan(conn, Answer("approved"), list(asked), actor="cem", now=now)
    made = moves.make(conn, asked, plan, actor="cem", now=now)
    assert list(made) == list(asked)
    moved = made[fresh.id]
    assert isinstance(moved, records.Action)
    assert (moved.status, moved.approved_by) == ("approved", "cem")
    for one, status, version in ((answered, "rejected", 1), (edited, "pending", 2)):
        refused = made[one.id]
        assert isinstance(refused, Conflict)
        assert refused.current is not None
        assert (refused.current["status"], refused.current["version"]) == (status, version)
    assert isinstance(made[nobody], NotFound)


def test_every_one_of_many_has_its_history_and_audit_row_and_its_own_frozen_words(
    conn: Connection, now: datetime
) -> None:
    shown = proposed(conn, now, 5)
    asked = {one.id: Seen(content_hash=one.content_hash) for one in shown[:4]} | {shown[4].id: UNSEEN}
    moves.make(
        conn, asked, answers.plan(conn, Answer("approved"), list(asked), actor="cem", now=now), actor="cem", now=now
    )
    changes = sa.select(action_changes.c.action_id, action_changes.c.shown_hash).where(
        action_changes.c.verb == "approved"
    )
    history = {row.action_id: row.shown_hash for row in conn.execute(changes)}
    assert history == {**{one.id: one.content_hash for one in shown[:4]}, shown[4].id: None}
    audited = conn.scalars(sa.select(audit_log.c.subject).where(audit_log.c.verb == "action.approved"))
    assert sorted(audited) == sorted(f"action:{one.id}" for one in shown)
    frozen = conn.execute(sa.select(actions.c.content, actions.c.payload))
    assert all(row.content.encode() in bytes(row.payload) for row in frozen)


def test_two_that_answer_the_same_actions_in_opposite_orders_never_block_each_other(
    store: Store, now: datetime
) -> None:
    with store.transaction() as conn:
        ids = [one.id for one in proposed(conn, now, MANY)]
    rounds = 10
    barrier = threading.Barrier(2)
    moved: list[int] = []
    failures: list[BaseException] = []

    def answer(order: list[UUID], status: answers.Word) -> None:
        for _ in range(rounds):
            barrier.wait()
            try:
                with store.transaction() as conn:
                    plan = answers.plan(conn, Answer(status), order, actor="anna", now=now)
                    made = moves.make(conn, dict.fromkeys(order, UNSEEN), plan, actor="anna", now=now)
                moved.append(sum(isinstance(one, records.Action) for one in made.values()))
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

    threads = [
        threading.Thread(target=answer, args=(ids, "approved")),
        threading.Thread(target=answer, args=(ids[::-1], "pending")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(moved) <= {0, MANY}, "each call moved all or met the other's answer"


def test_what_a_person_approved_waits_and_is_taken_back_until_it_is_claimed(store: Store) -> None:
    now = clock.now()
    with store.transaction() as conn:
        one, other = proposed(conn, now, 2)
        approvals.approve(conn, one.id, actor="bea", now=now, undo=timedelta(seconds=30))
        approvals.approve(conn, other.id, actor="bea", now=now - timedelta(seconds=31), undo=timedelta(seconds=30))
        due = conn.scalars(sa.select(actions.c.id).where(claims.due())).all()
        assert due == [other.id]
    with pytest.raises(Conflict, match="taken back until"):
        executor.run_one(store, one.id, settings=SETTINGS, owner="me")
    assert executor.run_due(store, settings=SETTINGS, owner="me").taken == 1
    with store.transaction() as conn:
        back = approvals.undo(conn, one.id, actor="bea", now=now)
        assert (back.status, back.undo_until) == ("pending", None)
        with pytest.raises(Conflict):
            approvals.undo(conn, other.id, actor="bea", now=now)
        approvals.approve(conn, one.id, actor="bea", now=now)
        assert records.get(conn, one.id).undo_until is None
    assert executor.run_one(store, one.id, settings=SETTINGS, owner="me").status == "executed"


def test_cancelling_what_may_have_arrived_says_that_nobody_knows(conn: Connection, now: datetime) -> None:
    conn.execute(sa.insert(users).values(id="u2"))
    untried, tried = proposed(conn, now, 2)
    for one in (untried, tried):
        approvals.approve(conn, one.id, actor="bea", now=now)
    conn.execute(sa.update(actions).where(actions.c.id == tried.id).values(first_attempt_at=now, attempts=1))
    assert approvals.cancel(conn, untried.id, actor="bea", now=now).status == "cancelled"
    stopped = approvals.cancel(conn, tried.id, actor="bea", now=now)
    assert (stopped.status, stopped.reason) == ("unknown", "cancelled_after_a_try")
    assert approvals.settle(conn, tried.id, Settlement("failed", "asked her"), actor="bea", now=now).status == "failed"


def test_what_a_person_lets_be_sent_again_may_still_have_arrived_the_first_time(
    conn: Connection, now: datetime
) -> None:
    [one] = proposed(conn, now, 1)
    approvals.approve(conn, one.id, actor="bea", now=now)
    conn.execute(sa.update(actions).values(first_attempt_at=now, attempts=1))
    approvals.cancel(conn, one.id, actor="bea", now=now)
    approvals.settle(conn, one.id, Settlement("approved", "once more", may_arrive_twice=True), actor="bea", now=now)
    assert approvals.cancel(conn, one.id, actor="bea", now=now).status == "unknown"
