"""Requests that share a commit get their own answers; those that share a key ask about it once."""

import asyncio
import json
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from oracle_api import group_commit
from oracle_api.group_commit import GroupCommit, Stored
from oracle_api.remembered import FRESH, SERVES, Remembered
from oracle_lib import access, clock
from oracle_lib.errors import Transient, Unknown
from oracle_lib.observe.batch import Door
from oracle_lib.observe.wire import Limits
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import events
from tests.api.conftest import make_key

DOOR = Door(source="one", limits=Limits(currency="USD"))
OTHER = Door(source="two", limits=Limits(currency="USD"))


def body(message: str, event: str = "login") -> bytes:
    return json.dumps({"userId": "u", "event": event, "messageId": message}).encode()


def stored_together(group: GroupCommit, *requests: tuple[list[bytes], Door]) -> list[Stored]:
    async def all_at_once() -> list[Stored]:
        return list(await asyncio.gather(*(group.store(bodies, door) for bodies, door in requests)))

    return asyncio.run(all_at_once())


def test_requests_of_one_flush_get_their_own_answers(store: Store) -> None:
    first, second, third = stored_together(
        GroupCommit(store),
        ([body("a"), body("bad", event="Not A Name"), body("b")], DOOR),
        ([body("c"), body("c")], OTHER),
        ([body("d"), body("a"), body("a", event="logout")], DOOR),
    )
    assert (first.accepted, first.duplicate, [one.index for one in first.rejected]) == (2, 0, [1])
    assert (second.accepted, second.duplicate, second.rejected) == (1, 1, [])
    assert (third.accepted, third.duplicate) == (1, 1)
    assert [(one.index, one.code) for one in third.rejected] == [(2, "id_reused")]
    with store.transaction() as conn:
        assert sorted(conn.execute(sa.select(events.c.message_id)).scalars()) == ["a", "b", "c", "d"]


def test_a_request_that_finds_the_queue_full_is_told_to_come_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "WAITING_EVENTS", 2)

    async def three() -> list[Stored | BaseException]:
        group = GroupCommit(store)
        return await asyncio.gather(*(group.store([body(name)], DOOR) for name in "abc"), return_exceptions=True)

    answers = asyncio.run(three())
    assert [type(answer) for answer in answers] == [Stored, Stored, Transient]
    with store.transaction() as conn:
        assert sorted(conn.execute(sa.select(events.c.message_id)).scalars()) == ["a", "b"]


def questions(store: Store) -> list[str]:
    """Return a list that grows with each question about a key that the database is asked."""
    asked: list[str] = []

    @sa.event.listens_for(store.engine, "before_cursor_execute")
    def note(conn: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT") and "api_keys" in statement:
            asked.append(statement)

    return asked


def test_many_requests_with_one_key_ask_about_it_once_and_go_on_while_it_is_asked_again(
    store: Store, now: datetime
) -> None:
    with store.transaction() as conn:
        key = access.parse(make_key(conn, "events:write"))
    asked = questions(store)

    async def requests() -> list[int]:
        callers = Remembered(store, access.verify)
        counts = []
        for later in (timedelta(), FRESH / 2, FRESH, SERVES - timedelta(seconds=1)):
            await asyncio.gather(*(callers.get(key, clock.now() + later) for _ in range(50)))
            await asyncio.sleep(0.2)
            counts.append(len(asked))
        return counts

    assert asyncio.run(requests()) == [1, 1, 2, 2]


def test_a_revoked_key_is_refused_once_its_last_answer_no_longer_serves(store: Store) -> None:
    with store.transaction() as conn:
        key = access.parse(make_key(conn, "events:write"))

    async def revoked() -> None:
        callers = Remembered(store, access.verify)
        await callers.get(key, clock.now())
        with store.transaction() as conn:
            access.revoke(conn, key.id, clock.now())
        with pytest.raises(Unknown):
            await callers.get(key, clock.now() + SERVES)
        with pytest.raises(Unknown):
            await callers.get(key, clock.now())

    asyncio.run(revoked())
