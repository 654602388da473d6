"""Many actions named by a filter are answered exactly as they were seen, all of them, or none is."""

import threading
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide.definition import Words
from oracle_lib.errors import Conflict, Invalid
from oracle_lib.execute import answers, approvals, records, selections
from oracle_lib.execute.answers import Answer, Word
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.records import Filter
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, segments, users

PENDING = Filter(status="pending")


def propose(conn: Connection, now: datetime, user: str = "u1", **fields: object) -> records.Action:
    conn.execute(sa.text("INSERT INTO users (id) VALUES (:id) ON CONFLICT DO NOTHING"), {"id": user})
    draft = Draft(**{"user_id": user, "action_type": "dm", "content": "Hi", **fields})  # type: ignore[arg-type]
    return approvals.create(conn, draft, actor="anna", now=now)


def give(conn: Connection, which: Filter, digest: str, now: datetime, word: Word = "approved") -> int:
    def plan(ids: object) -> answers.Plan:
        return answers.plan(conn, Answer(word), ids, actor="bea", now=now)  # type: ignore[arg-type]

    return selections.answer(conn, which, digest, plan, actor="bea", now=now)


def states(conn: Connection) -> dict[UUID, str]:
    return dict(conn.execute(sa.select(actions.c.id, actions.c.status)).all())


def test_what_was_seen_is_approved_with_the_hash_that_was_seen(conn: Connection, now: datetime) -> None:
    shown = {one.id: one for one in (propose(conn, now, content=f"Hi {n}") for n in range(5))}
    seen = selections.look(conn, PENDING)
    assert {one.id: (one.version, one.content_hash) for one in seen.items} == {
        one.id: (1, one.content_hash) for one in shown.values()
    }
    assert give(conn, PENDING, seen.digest, now) == seen.count == 5
    for row in conn.execute(sa.select(actions)):
        assert (row.status, row.approved_hash) == ("approved", shown[row.id].content_hash)
    noted = sa.select(action_changes.c.action_id, action_changes.c.shown_hash).where(
        action_changes.c.verb == "approved"
    )
    assert dict(conn.execute(noted).all()) == {one.id: one.content_hash for one in shown.values()}


def came_in(conn: Connection, _one: records.Action, now: datetime) -> None:
    propose(conn, now)


def was_answered(conn: Connection, one: records.Action, now: datetime) -> None:
    approvals.reject(conn, one.id, actor="cem", now=now, reason=None)


def was_edited(conn: Connection, one: records.Action, now: datetime) -> None:
    approvals.edit(conn, one.id, actor="cem", now=now, words=Words("Other words"))


def was_edited_back(conn: Connection, one: records.Action, now: datetime) -> None:
    for words in ("Other words", one.content):
        approvals.edit(conn, one.id, actor="cem", now=now, words=Words(words))


@pytest.mark.parametrize("happens", [came_in, was_answered, was_edited, was_edited_back])
def test_after_anything_that_nobody_saw_nothing_moves_and_what_is_meant_now_is_told(
    conn: Connection, now: datetime, happens: Callable[[Connection, records.Action, datetime], None]
) -> None:
    one, _ = propose(conn, now), propose(conn, now)
    seen = selections.look(conn, PENDING)
    happens(conn, one, now)
    before = states(conn)
    with pytest.raises(Conflict) as refused:
        give(conn, PENDING, seen.digest, now)
    assert states(conn) == before
    stands = selections.look(conn, PENDING)
    current = refused.value.current
    assert current is not None
    assert (current["count"], current["digest"]) == (stands.count, stands.digest)
    assert current["items"] == [
        {"id": str(item.id), "version": item.version, "contentHash": item.content_hash} for item in stands.items
    ]
    assert give(conn, PENDING, stands.digest, now) == stands.count


def test_a_filter_means_what_the_list_shows_for_it(conn: Connection, now: datetime) -> None:
    propose(conn, now, "u1")
    propose(conn, now, "u2", action_type="email", subject="Hi", message_class="transactional")
    of_rule = propose(conn, now, "u3")
    approvals.approve(conn, propose(conn, now, "u3").id, actor="bea", now=now)
    rule_id = UUID(int=7)
    named = {"rule_id": rule_id, "rule_version": 1, "cause": "x"}
    conn.execute(sa.update(actions).where(actions.c.id == of_rule.id).values(named))
    conn.execute(sa.insert(segments), [{"user_id": "u1", "engagement_level": "dormant"}])
    sizes = {
        PENDING: 3,
        Filter(status="approved"): 1,
        Filter(status="pending", user_id="u3"): 1,
        Filter(status="pending", action_type="dm"): 2,
        Filter(status="pending", rule_id=rule_id): 1,
        Filter(status="pending", message_class="transactional"): 1,
        Filter(status="pending", engagement_level="dormant"): 1,
        Filter(status="pending", engagement_level="lost"): 0,
    }
    for which, size in sizes.items():
        meant = [one.id for one in selections.look(conn, which).items]
        assert len(meant) == size, which
        assert meant == sorted(one.id for one in records.listing(conn, which).actions)


def test_all_move_or_none(conn: Connection, now: datetime) -> None:
    tried, fresh = (approvals.approve(conn, propose(conn, now).id, actor="bea", now=now) for _ in range(2))
    conn.execute(sa.update(actions).where(actions.c.id == tried.id).values(attempts=1))
    which = Filter(status="approved")
    with pytest.raises(Conflict, match="tried already"), conn.begin_nested():
        give(conn, which, selections.look(conn, which).digest, now, "pending")
    assert states(conn) == {tried.id: "approved", fresh.id: "approved"}


def test_nothing_is_meant_and_nothing_moves(conn: Connection, now: datetime) -> None:
    assert give(conn, PENDING, selections.look(conn, PENDING).digest, now) == 0


def test_more_than_a_thousand_are_refused(conn: Connection, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    assert selections.MOST == 1_000
    monkeypatch.setattr(selections, "MOST", 2)
    for _ in range(2):
        propose(conn, now)
    assert selections.look(conn, PENDING).count == 2
    propose(conn, now)
    with pytest.raises(Invalid):
        selections.look(conn, PENDING)


def test_of_two_who_answer_the_same_at_once_one_moves_all_and_the_other_none(store: Store, now: datetime) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u1"))
        for _ in range(30):
            propose(conn, now)
        seen = selections.look(conn, PENDING)
    barrier = threading.Barrier(2)
    moved: list[int] = []

    def answer(word: Word) -> None:
        barrier.wait()
        try:
            with store.transaction() as conn:
                moved.append(give(conn, PENDING, seen.digest, now, word))
        except Conflict:
            moved.append(0)

    threads = [threading.Thread(target=answer, args=(word,)) for word in ("approved", "rejected")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(moved) == [0, 30]
    with store.transaction() as conn:
        assert len(set(states(conn).values())) == 1
