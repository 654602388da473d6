"""G5: an action makes exactly one transition out of pending, of exactly the words that were shown.

Control: reading the state and then writing lets two approvals through.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import get_args
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from oracle_lib.decide.definition import Words
from oracle_lib.errors import Conflict, NotFound
from oracle_lib.execute import answers, approvals, moves, records, versions
from oracle_lib.execute.answers import Answer
from oracle_lib.execute.approvals import Draft, Settled, Settlement
from oracle_lib.execute.moves import Seen
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import ACTION_STATUSES, LEGAL_MOVES, action_changes, actions, users
from tests.conftest import FULL, NOW

ACTIONS = 1000 if FULL else 60
PAIRS = list(itertools.product(ACTION_STATUSES, ACTION_STATUSES))


def pending(conn: Connection, now: datetime) -> records.Action:
    return approvals.create(conn, Draft("u1", "dm", "Hi Ada"), actor="anna", now=now)


def all_at_once(store: Store, shown: list[records.Action], moves: dict[str, Callable]) -> dict[UUID, list[str]]:
    """Let one thread a move go through all actions, each action at a barrier; return who got through."""
    barrier = threading.Barrier(len(moves))
    through: dict[UUID, list[str]] = {action.id: [] for action in shown}
    failures: list[BaseException] = []

    def work(name: str, move: Callable) -> None:
        for action in shown:
            barrier.wait()
            try:
                with store.transaction() as conn:
                    move(conn, action)
                through[action.id].append(name)
            except Conflict as refused:
                if refused.current is None:
                    failures.append(refused)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

    threads = [threading.Thread(target=work, args=move) for move in moves.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return through


def ways(now: datetime, sees: Callable[[records.Action], Seen]) -> dict[str, Callable]:
    return {
        "approve": lambda conn, one: approvals.approve(conn, one.id, actor="a", now=now, seen=sees(one)),
        "approve too": lambda conn, one: approvals.approve(conn, one.id, actor="b", now=now, seen=sees(one)),
        "reject": lambda conn, one: approvals.reject(conn, one.id, actor="d", now=now, reason=None, seen=sees(one)),
    }


@pytest.fixture
def shown(store: Store, now: datetime) -> list[records.Action]:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u1"))
        return [pending(conn, now) for _ in range(ACTIONS)]


def test_of_two_approvals_an_edit_and_a_refusal_at_once_exactly_one_gets_through(
    store: Store, shown: list[records.Action], now: datetime
) -> None:
    def edit(conn: Connection, one: records.Action) -> object:
        seen = Seen(one.version, one.content_hash)
        return approvals.edit(conn, one.id, actor="c", now=now, words=Words("Hello"), seen=seen)

    asked = {**ways(now, lambda one: Seen(one.version, one.content_hash)), "edit": edit}
    through = all_at_once(store, shown, asked)
    assert Counter(len(names) for names in through.values()) == {1: ACTIONS}
    with store.transaction() as conn:
        histories = Counter(conn.execute(sa.select(action_changes.c.action_id)).scalars())
        assert set(histories.values()) == {2}, "created, and the one move"
        wrong = sa.select(actions.c.id).where(
            actions.c.status == "approved", actions.c.approved_hash != shown[0].content_hash
        )
        assert conn.execute(wrong).all() == []
        for action in shown:
            became = records.get(conn, action.id).status
            assert (
                became
                == {"approve": "approved", "reject": "rejected", "edit": "pending"}[through[action.id][0].split()[0]]
            )


def test_answers_that_name_no_version_are_one_transition_too(
    store: Store, shown: list[records.Action], now: datetime
) -> None:
    through = all_at_once(store, shown[:30], ways(now, lambda _: Seen()))
    assert Counter(len(names) for names in through.values()) == {1: 30}


def test_control_reading_and_then_writing_lets_two_approvals_through(
    store: Store, shown: list[records.Action], now: datetime
) -> None:
    both_have_read = threading.Barrier(2)

    def naive(conn: Connection, one: records.Action) -> None:
        status = conn.scalar(sa.select(actions.c.status).where(actions.c.id == one.id))
        both_have_read.wait()
        if status == "pending":
            approved = {"status": "approved", "approved_hash": one.content_hash}
            conn.execute(sa.update(actions).where(actions.c.id == one.id).values(approved))

    through = all_at_once(store, shown[:10], {"approve": naive, "approve too": naive})
    assert Counter(len(names) for names in through.values()) == {2: 10}


def put(conn: Connection, action_id: UUID, status: str, *, tried: bool = False) -> None:
    """Put an action into a state behind the trigger's back, as if it had come there by legal moves."""
    conn.execute(sa.text("ALTER TABLE actions DISABLE TRIGGER actions_move"))
    values = {"status": status, "approved_hash": actions.c.content_hash, "attempts": int(tried)}
    conn.execute(sa.update(actions).where(actions.c.id == action_id).values(values))
    conn.execute(sa.text("ALTER TABLE actions ENABLE TRIGGER actions_move"))


@pytest.mark.parametrize(("tried", "impossible"), [(False, ("approved", "unknown")), (True, ("approved", "cancelled"))])
def test_the_database_refuses_every_move_that_is_not_drawn(
    conn: Connection, now: datetime, *, tried: bool, impossible: tuple[str, str]
) -> None:
    conn.execute(sa.insert(users).values(id="u1"))
    action_id = pending(conn, now).id
    allowed = set()
    for old, new in PAIRS:
        put(conn, action_id, old, tried=tried)
        try:
            with conn.begin_nested():
                conn.execute(sa.update(actions).where(actions.c.id == action_id).values(status=new))
            allowed.add((old, new))
        except DBAPIError as error:
            assert "cannot move" in str(error)  # noqa: PT017
    drawn = {(old, new) for old, targets in LEGAL_MOVES.items() for new in targets} - {impossible}
    assert allowed == drawn | {(status, status) for status in ACTION_STATUSES}


@pytest.mark.parametrize("status", [status for status in ACTION_STATUSES if status != "pending"])
def test_the_database_lets_no_action_begin_elsewhere_and_no_words_change_after_pending(
    conn: Connection, now: datetime, status: str
) -> None:
    conn.execute(sa.insert(users).values(id="u1"))
    action_id = pending(conn, now).id
    row = {"user_id": "u1", "action_type": "dm", "content": "x", "content_hash": "x", "triggered_by": "manual"}
    with pytest.raises(DBAPIError, match="starts pending"), conn.begin_nested():
        conn.execute(sa.insert(actions).values(**row, status=status))
    put(conn, action_id, status)
    with pytest.raises(DBAPIError, match="only a pending action"), conn.begin_nested():
        conn.execute(sa.update(actions).values(content="other words"))


def test_what_was_not_approved_word_for_word_is_never_in_anybodys_hand(conn: Connection, now: datetime) -> None:
    conn.execute(sa.insert(users).values(id="u1"))
    action_id = pending(conn, now).id
    approvals.approve(conn, action_id, actor="bea", now=now)
    with pytest.raises(DBAPIError, match="what was approved"), conn.begin_nested():
        conn.execute(sa.update(actions).values(status="executing", approved_hash="other"))


def test_history_is_never_rewritten(conn: Connection, now: datetime) -> None:
    conn.execute(sa.insert(users).values(id="u1"))
    pending(conn, now)
    for statement in (sa.delete(action_changes), sa.update(action_changes).values(actor="nobody")):
        with pytest.raises(DBAPIError, match="never changed"), conn.begin_nested():
            conn.execute(statement)


class Moves(RuleBasedStateMachine):
    """One action against a model of it that knows only the drawing: any order of moves, legal or not."""

    conn: Connection

    def __init__(self) -> None:
        super().__init__()
        self.id = pending(self.conn, NOW).id
        self.status = "pending"
        self.version = 1
        self.moved = 1
        self.tried = False
        self.said = {1: "Hi Ada"}

    def ask(self, legal: tuple[str, ...], becomes: str, call: Callable) -> None:
        try:
            call()
            done = True
        except Conflict as refused:
            done = False
            assert refused.current is not None  # noqa: PT017
            assert refused.current["status"] == self.status  # noqa: PT017
        assert done == (self.status in legal)
        if done:
            self.status = becomes
            self.moved += 1

    @rule(behind=st.integers(0, 1))
    def approve(self, behind: int) -> None:
        seen = Seen(version=self.version - behind)
        legal = ("pending",) if not behind else ()
        self.ask(legal, "approved", lambda: approvals.approve(self.conn, self.id, actor="a", now=NOW, seen=seen))

    @rule()
    def reject(self) -> None:
        self.ask(
            ("pending",),
            "rejected",
            lambda: approvals.reject(self.conn, self.id, actor="a", now=NOW, reason=None),
        )

    @rule()
    def undo(self) -> None:
        legal = () if self.tried else ("approved",)
        self.ask(legal, "pending", lambda: approvals.undo(self.conn, self.id, actor="a", now=NOW))

    @rule()
    def cancel(self) -> None:
        becomes = "unknown" if self.tried else "cancelled"
        self.ask(("approved",), becomes, lambda: approvals.cancel(self.conn, self.id, actor="a", now=NOW))

    @rule()
    def is_tried_and_waits_for_a_retry(self) -> None:
        if self.status == "approved":
            self.tried = True
            self.conn.execute(
                sa.update(actions).where(actions.c.id == self.id).values(attempts=1, first_attempt_at=NOW)
            )

    @rule(became=st.sampled_from(get_args(Settled)))
    def settle(self, became: Settled) -> None:
        given = Settlement(became, "asked her", may_arrive_twice=True)
        self.ask(("unknown",), became, lambda: approvals.settle(self.conn, self.id, given, actor="a", now=NOW))

    @rule(status=st.sampled_from(["approved", "rejected", "pending"]))
    def among_others(self, status: str) -> None:
        nobody = UUID(int=0)
        legal = {"approved": ("pending",), "rejected": ("pending",), "pending": () if self.tried else ("approved",)}
        plan = answers.plan(self.conn, Answer(status), [self.id], actor="a", now=NOW)  # type: ignore[arg-type]

        def call() -> None:
            made = moves.make(self.conn, {nobody: Seen(), self.id: Seen()}, plan, actor="a", now=NOW)
            assert isinstance(made[nobody], NotFound)
            if isinstance(made[self.id], Conflict):
                raise made[self.id]

        self.ask(legal[status], status, call)

    @rule(words=st.sampled_from(["same version", "rewritten"]))
    def words_by_sql(self, words: str) -> None:
        """Change words without making another version, or after pending: never accepted."""
        with pytest.raises(DBAPIError), self.conn.begin_nested():
            self.conn.execute(sa.update(actions).where(actions.c.id == self.id).values(content=words))

    @rule()
    def by_hand(self) -> None:
        self.ask(
            ("pending", "approved"),
            "executed",
            lambda: approvals.done_by_hand(self.conn, self.id, actor="a", now=NOW, note="called"),
        )

    @rule(words=st.sampled_from(["Hello", "Hi Ada", "Good day"]))
    def edit(self, words: str) -> None:
        was = self.status
        self.ask(
            ("pending",),
            "pending",
            lambda: approvals.edit(self.conn, self.id, actor="a", now=NOW, words=Words(words)),
        )
        if was == "pending":
            self.version += 1
            self.said[self.version] = words

    @rule(wanted=st.sampled_from(ACTION_STATUSES))
    def illegal_by_sql(self, wanted: str) -> None:
        tried_or_not = "cancelled" if self.tried else "unknown"
        possible = LEGAL_MOVES[self.status] - ({tried_or_not} if self.status == "approved" else set())
        if wanted == self.status or wanted in possible:
            return
        with pytest.raises(DBAPIError), self.conn.begin_nested():
            self.conn.execute(sa.update(actions).where(actions.c.id == self.id).values(status=wanted))

    @invariant()
    def stands_as_the_model_says(self) -> None:
        found = records.get(self.conn, self.id)
        assert (found.status, found.version) == (self.status, self.version)
        history = sa.select(action_changes.c.new_status).where(action_changes.c.action_id == self.id)
        rows = list(self.conn.execute(history.order_by(action_changes.c.id)).scalars())
        assert (len(rows), rows[-1]) == (self.moved, self.status)
        assert {one.version: one.content for one in versions.of(self.conn, self.id)} == self.said


def test_any_order_of_moves_agrees_with_the_drawing(conn: Connection) -> None:
    conn.execute(sa.insert(users).values(id="u1"))
    Moves.conn = conn
    sized = settings(
        max_examples=400 if FULL else 20,
        stateful_step_count=30 if FULL else 15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Moves, settings=sized)
