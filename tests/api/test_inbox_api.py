"""The inbox of direct messages: by whichever channel they went, read once, and counted as opened."""

from datetime import datetime
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.execute import approvals, executor
from oracle_lib.execute.approvals import Draft
from oracle_lib.learn import outcomes
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import events, messages, users
from oracle_lib.storage.tables import outcomes as kept
from tests.providers import product
from tests.providers.product import Product
from tests.providers.wire import serving

INBOX = "/api/oracle/users/u1/messages"


def deliver(store: Store, settings: Settings, *texts: str, user_id: str = "u1", action_type: str = "dm") -> list[UUID]:
    """Send messages, one after the other, by the channel that the settings say."""
    made = []
    for text in texts:
        with store.transaction() as conn:
            draft = Draft(user_id, action_type, text)
            action = approvals.create(conn, draft, actor="anna", now=clock.now())
            approvals.approve(conn, action.id, actor="bea", now=clock.now())
        executor.run_due(store, settings=settings, owner="me")
        made.append(action.id)
    return made


@pytest.fixture(autouse=True)
def people(store: Store) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users), [{"id": name, "is_test": True} for name in ("u1", "u2", "a/b")])


def by(channel: str, settings: Settings, url: str) -> Settings:
    webhook = {"webhook_url": url, "webhook_secret": product.SECRET, "internal_endpoints": True}
    return Settings(**{**settings.model_dump(), "dm_channel": channel, **webhook})


@pytest.mark.parametrize("channel", ["outbox", "inbox", "webhook"])
def test_a_direct_message_is_in_the_inbox_by_whichever_channel_it_went(
    client: httpx.Client, store: Store, settings: Settings, channel: str
) -> None:
    with serving(Product()) as receiver:
        [action_id] = deliver(store, by(channel, settings, receiver.url), "Hi Ada")
    assert len(receiver.requests) == (channel == "webhook")
    page = client.get(INBOX).json()
    [found] = page["messages"]
    assert (page["sender"], page["unread"], page["nextCursor"]) == ("Coach Sarah", 1, None)
    assert (found["actionId"], found["content"], found["subject"], found["readAt"]) == (
        str(action_id),
        "Hi Ada",
        None,
        None,
    )


def test_pages_go_from_the_newest_to_the_oldest_and_hold_each_message_once(
    client: httpx.Client, store: Store, settings: Settings
) -> None:
    deliver(store, settings, *(f"message {number}" for number in range(5)))
    deliver(store, settings, "somebody else's", user_id="u2")
    deliver(store, settings, "a push message", action_type="push")
    seen, cursor = [], ""
    while True:
        page = client.get(f"{INBOX}?limit=2{cursor}").json()
        assert page["unread"] == 5
        seen += [one["content"] for one in page["messages"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert seen == [f"message {number}" for number in (4, 3, 2, 1, 0)]


def test_reading_twice_is_reading_once_and_counts_as_opened(
    client: httpx.Client, store: Store, settings: Settings
) -> None:
    first, _ = deliver(store, settings, "first", "second")
    message = client.get(INBOX).json()["messages"][1]
    answers = [client.post(f"{INBOX}/{message['id']}/read") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["readAt"] for answer in answers}) == 1
    assert client.get(INBOX).json()["unread"] == 1
    with store.transaction() as conn:
        read = conn.execute(sa.select(events.c.source, events.c.metadata).where(events.c.event == "dm_read")).all()
        assert read == [("oracle", {"actionId": str(first)})]
        outcomes.attribute(conn, now=clock.now(), settings=settings)
        assert conn.scalars(sa.select(kept.c.action_id).where(kept.c.kind == "opened")).all() == [first]


def test_nobody_reads_what_is_not_theirs(client: httpx.Client, store: Store, settings: Settings) -> None:
    deliver(store, settings, "for u2", user_id="u2")
    deliver(store, settings, "a push message", action_type="push")
    with store.transaction() as conn:
        ids = conn.scalars(sa.select(messages.c.id)).all()
    assert [client.post(f"{INBOX}/{one}/read").status_code for one in ids] == [404, 404]
    with store.transaction() as conn:
        assert conn.scalars(sa.select(messages.c.read_at)).all() == [None, None]
    assert client.get(INBOX).json()["messages"] == []


def test_ids_with_a_slash_have_an_inbox_too(client: httpx.Client, store: Store, settings: Settings) -> None:
    deliver(store, settings, "Hi", user_id="a/b")
    assert len(client.get("/api/oracle/users/a/b/messages").json()["messages"]) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=x", "page=2"])
def test_what_cannot_be_meant_is_refused_by_name(client: httpx.Client, query: str) -> None:
    answer = client.get(f"{INBOX}?{query}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, query.partition("=")[0])


def test_the_inbox_reaches_people_and_so_asks_what_holds_for_them(
    store: Store, settings: Settings, client: httpx.Client, now: datetime
) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="real", is_test=False))
    deliver(store, by("inbox", settings, ""), "Hi", user_id="real")
    assert client.get("/api/oracle/users/real/messages").json()["messages"] == []
    # Control: the outbox reaches nobody and takes it.
    deliver(store, settings, "Hi", user_id="real")
    assert len(client.get("/api/oracle/users/real/messages").json()["messages"]) == 1
