"""A tail shows each event that comes in with what became of it, from every API process, and costs nothing unwatched."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Limited
from oracle_lib.observe import tail
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.tail import LEASE, MOST_TAILS, MOST_WAITING
from oracle_lib.observe.wire import Limits
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import event_tails, tailed_events
from tests import world
from tests.api.conftest import MakeClient, make_key
from tests.guarantees.receiver import Receiver, api


class Watching(threading.Thread):
    """Reads a tail until it has seen so many events; `opened` is set once everything sent is shown."""

    def __init__(self, address: str, key: str, until: int, **parameters: str) -> None:
        super().__init__(daemon=True)
        self.opened = threading.Event()
        self.seen: list[dict[str, str]] = []
        self.status = 0
        self._ask = (f"{address}/api/oracle/events/tail", {"X-API-Key": key}, parameters)
        self._until = until
        self.start()

    def run(self) -> None:
        """Read."""
        address, headers, parameters = self._ask
        with httpx.stream("GET", address, headers=headers, params=parameters, timeout=20) as answer:
            self.status = answer.status_code
            assert answer.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in answer.iter_lines():
                if line == "event: open":
                    self.opened.set()
                elif line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: ") and name:
                    self.seen.append(json.loads(line[6:]))
                    assert self.seen[-1]["outcome"] == name
                    if len(self.seen) == self._until:
                        return


def count(store: Store, table: sa.Table) -> int:
    with store.transaction() as conn:
        return conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0


@pytest.fixture
def two(store: Store) -> Iterator[tuple[Receiver, Receiver]]:
    """Two API processes on one database."""
    receivers = (Receiver(api, store.url), Receiver(api, store.url))
    yield receivers
    for receiver in receivers:
        receiver.kill()


def test_every_outcome_is_shown_whichever_process_the_event_came_to(
    two: tuple[Receiver, Receiver], store: Store
) -> None:
    with store.transaction() as conn:
        reader = make_key(conn, "events:read", source="a person")
        shop = make_key(conn, "events:write", "users:write", source="shop")
        other = make_key(conn, "events:write", source="other")
    watching = Watching(two[0].address, reader, 6, source="shop")
    assert watching.opened.wait(15)
    event = {"userId": "u1", "event": "login", "messageId": "m1"}
    with httpx.Client(base_url=two[1].address, headers={"X-API-Key": shop}) as client:
        client.post("/api/oracle/events", json=event)
        client.post("/api/oracle/events/batch", json=[event, {**event, "event": "logout"}])
        client.post("/api/oracle/events/batch", content=b"{not json")
        client.post("/v1/track", json={"userId": "u2", "event": "Lesson Completed", "messageId": "m2"})
        httpx.post(
            f"{two[1].address}/api/oracle/events", headers={"X-API-Key": other}, json={**event, "messageId": "x"}
        )
        client.post("/v1/identify", json={"userId": "u3", "traits": {"name": "Ada"}})
    watching.join(15)
    shown = [(one["outcome"], one["userId"], one["event"], one["reason"]) for one in watching.seen]
    assert shown == [
        ("accepted", "u1", "login", None),
        ("duplicate", "u1", "login", None),
        ("rejected", "u1", "logout", "id_reused"),
        ("rejected", None, None, "malformed_json"),
        ("accepted", "u2", "lesson_complete", None),
        ("accepted", "u3", None, None),
    ]
    assert json.loads(watching.seen[0]["body"]) == event
    assert watching.seen[3]["body"] == "{not json"
    assert {one["source"] for one in watching.seen} == {"shop"}


def test_a_tail_that_is_left_is_closed_and_leaves_nothing(store: Store, base_url: str) -> None:
    with store.transaction() as conn:
        key = make_key(conn, "events:read", "events:write")
    with httpx.stream("GET", f"{base_url}/api/oracle/events/tail", headers={"X-API-Key": key}, timeout=20) as answer:
        lines = answer.iter_lines()  # kept: a generator that is dropped closes the answer
        next(lines)
        assert count(store, event_tails) == 1
    until = time.monotonic() + 10
    while count(store, event_tails) and time.monotonic() < until:
        time.sleep(0.1)
    assert (count(store, event_tails), count(store, tailed_events)) == (0, 0)


def test_a_tail_needs_the_scope_to_read_events(client_with: MakeClient) -> None:
    assert client_with("events:write").get("/api/oracle/events/tail").status_code == 403


def door(*tails: str) -> Door:
    return Door(source="shop", limits=Limits(currency="USD"), tails=tails)


def bodies(first: int, count: int, now: datetime) -> list[bytes]:
    return [world.event(f"u{n}", "login", now, messageId=f"m{n}") for n in range(first, first + count)]


def test_nothing_is_written_while_nobody_watches(conn: Connection, now: datetime) -> None:
    ingest(conn, bodies(0, 3, now), door=door(), received_at=now)
    assert conn.scalar(sa.select(sa.func.count()).select_from(tailed_events)) == 0


def test_a_tail_that_does_not_keep_up_is_told_how_many_it_missed(conn: Connection, now: datetime) -> None:
    opened = tail.open_tail(conn, now)
    ingest(conn, bodies(0, MOST_WAITING - 1, now), door=door(opened.id), received_at=now)
    ingest(conn, bodies(5_000, 5, now), door=door(opened.id), received_at=now)
    shown = tail.take(conn, opened, now)
    assert [one.outcome for one in shown[-2:]] == ["accepted", "left_out"]
    assert len(shown) == MOST_WAITING + 1
    assert shown[-1].detail == "4 events came faster than they were shown."
    assert tail.take(conn, opened, now) == []


def test_a_tail_shows_what_its_source_or_its_key_sends(conn: Connection, now: datetime) -> None:
    opened = tail.open_tail(conn, now, source="shop", key_id="k1")
    assert tail.live(conn, now) == (opened,)
    assert opened.watches("shop", "k1")
    assert not opened.watches("shop", "k2")
    assert not opened.watches("other", "k1")


def test_a_lease_that_is_not_renewed_ends_and_what_waits_goes_with_it(conn: Connection, now: datetime) -> None:
    left = tail.open_tail(conn, now)
    ingest(conn, bodies(0, 1, now), door=door(left.id), received_at=now)
    later = now + LEASE + timedelta(seconds=1)
    assert tail.live(conn, later) == ()
    opened = tail.open_tail(conn, later)
    assert tail.live(conn, later) == (opened,)
    assert conn.scalar(sa.select(sa.func.count()).select_from(tailed_events)) == 0


def test_so_many_may_watch_at_once(conn: Connection, now: datetime) -> None:
    for _ in range(MOST_TAILS):
        tail.open_tail(conn, now)
    with pytest.raises(Limited):
        tail.open_tail(conn, now)
    tail.open_tail(conn, now + LEASE + timedelta(seconds=1))


def test_what_cannot_be_stored_as_it_was_sent_is_shown_all_the_same(conn: Connection, now: datetime) -> None:
    opened = tail.open_tail(conn, now)
    hostile = [b'{"userId": "u", "event": "login", "a\\u0000b": 1}', b"\x00\xff", b'{"userId": "\\u0000"}']
    report = ingest(conn, hostile, door=door(opened.id), received_at=now)
    assert len(report.rejected) == 3
    assert [one.outcome for one in tail.take(conn, opened, now)] == ["rejected"] * 3
