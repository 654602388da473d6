"""G2, test E2: whatever is sent, nothing is lost: it is stored, or it was stored before, or it is kept with its reason.

Bodies are made by breaking good ones in every way that was thought of, at random: bytes, types, sizes, depths, numbers,
characters, times, names. No answer is 5xx. What can be mended is replayed, twice, and added once. The control stores
what PostgreSQL takes and answers 500 for the rest, as a receiver without checks of its own does.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.observe import rejected
from oracle_lib.observe.rejected import Terms
from oracle_lib.observe.wire import Limits
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import events, rejected_events
from tests.api.conftest import make_key
from tests.conftest import FULL
from tests.guarantees.receiver import Receiver, api

PAYLOADS = 100_000 if FULL else 3_000

Body = dict[str, object]
Break = Callable[[random.Random, Body], bytes | Body]


def _with(name: str, *values: object) -> Break:
    return lambda rnd, body: {**body, name: rnd.choice(values)}


def _facts(*values: object) -> Break:
    return lambda rnd, body: {**body, "event": "purchase", "metadata": rnd.choice(values)}


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def _bytes(rnd: random.Random, body: Body) -> bytes:
    return rnd.randbytes(rnd.randrange(1, 200))


def _cut(rnd: random.Random, body: Body) -> bytes:
    text = json.dumps(body).encode()
    return text[: rnd.randrange(1, len(text))]


def _flipped(rnd: random.Random, body: Body) -> bytes:
    text = bytearray(json.dumps(body).encode())
    for _ in range(rnd.randrange(1, 5)):
        text[rnd.randrange(len(text))] = rnd.randrange(256)
    return bytes(text)


def _raw(*texts: bytes) -> Break:
    return lambda rnd, body: json.dumps(body).encode()[:-1] + b', "metadata": ' + rnd.choice(texts) + b"}"


BREAKS: tuple[Break, ...] = (
    lambda rnd, body: body,
    lambda rnd, body: {**body, "event": "purchase", "metadata": {"amount": 5, "currency": "EUR"}},
    _with("userId", "", " ", "x" * 201, None, 5, [], {}, "a\x00b", "\ud800"),
    _with("event", "", "Lesson Completed", "x" * 101, None, 5, "a b", "é", "1a", "\x00"),
    _with("timestamp", "", "yesterday", 5, "2026-03-04", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", 1e400),
    _with("timestamp", "2026-02-30T00:00:00Z", "1970-01-01T00:00:00Z", "2026-03-04T12:00:00+99:00"),
    _with("source", "", "oracle", 5, "x" * 300),
    _with("messageId", "", 5, "x" * 300, "a\x00b"),
    _with("colour", "red"),
    _with("metadata", [], "text", 5, _nested(40), {"a": "x" * 40_000}, {str(n): n for n in range(300)}, {"\x00": 1}),
    _facts({"amount": -1}, {"amount": "many"}, {"amount": 1e300}, {"amount": True}, {"amount": []}, {"currency": 5}),
    _raw(b'{"n": NaN}', b'{"n": Infinity}', b'{"n": 1e400}', b'{"n": 1e-400}', b'{"n": ' + b"9" * 400 + b"}"),
    _raw(b'{"s": "\\ud800"}', b'{"s": "\\u0000"}', b'{"s": "\xff"}', b"[" * 5000 + b"]" * 5000, b"{'a': 1}"),
    _bytes,
    _cut,
    _flipped,
)


def payload(number: int) -> bytes:
    """The body of a number: a good one, broken in one of the ways."""
    rnd = random.Random(number)
    body: Body = {"userId": f"u{number % 50}", "event": "login", "messageId": f"m{number}"}
    broken = rnd.choice(BREAKS)(rnd, body)
    return broken if isinstance(broken, bytes) else json.dumps(broken).encode()


@pytest.fixture
def receiver(store: Store) -> Receiver:
    return Receiver(api, store.url)


def test_nothing_sent_is_lost_and_what_is_mended_is_added_once(store: Store, receiver: Receiver) -> None:
    with store.transaction() as conn:
        key = make_key(conn, "events:write")
    bodies = [payload(number) for number in range(PAYLOADS)]
    with httpx.Client(base_url=receiver.address, headers={"X-API-Key": key}, timeout=30) as client:

        def send(body: bytes) -> httpx.Response:
            return client.post("/api/oracle/events", content=body)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, bodies[:200]))
            before = receiver.memory()
            answers = list(pool.map(send, bodies[200:]))
            growth = receiver.memory() - before
    receiver.kill()
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {202, 422}
    assert all(answer.json()["error"]["code"] for answer in answers if answer.status_code == 422)
    with store.transaction() as conn:
        stored = conn.scalar(sa.select(sa.func.count()).select_from(events)) or 0
        kept = conn.execute(sa.select(rejected_events.c.reason_code, rejected_events.c.raw)).all()
    assert stored + len(kept) == PAYLOADS
    assert all(row.reason_code and row.raw for row in kept)
    assert growth < 100
    _replayed_twice_is_added_once(store, stored)


def _replayed_twice_is_added_once(store: Store, stored: int) -> None:
    mended = Limits(currency="EUR", late=None)
    with store.transaction() as conn:
        first = rejected.replay(conn, terms=Terms(mended), now=clock.now())
    with store.transaction() as conn:
        again = rejected.replay(conn, terms=Terms(mended), now=clock.now())
        total = conn.scalar(sa.select(sa.func.count()).select_from(events)) or 0
    assert first.accepted > 50
    assert again.accepted == 0
    assert total == stored + first.accepted


def test_control_a_receiver_that_trusts_the_database_to_check_fails_on_some(store: Store) -> None:
    failures = 0
    for number in range(600):
        try:
            with store.transaction() as conn:
                insert = sa.text(
                    "INSERT INTO rejected_events (source, raw, reason_code, detail)"
                    " SELECT CAST(:body AS jsonb) ->> 'userId', '', 'x', 'x'"
                )
                conn.execute(insert, {"body": payload(number).decode("utf-8", "replace")})
        except sa.exc.DBAPIError:
            failures += 1
    assert failures > 50
