"""Events over HTTP until they are durable, against the least that could be: raw COPY, and the route without a database.

Every event is new, names its user, carries metadata and a message id. A chunk of raw COPY commits too.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec

from bench.academy import database
from bench.result import Result, Say, timed
from bench.service import Load, api, send
from oracle_lib import clock
from oracle_lib.storage import partitions
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store

# Batch size -> events sent in all, and the budget against raw chunks of the same size.
_BATCHES = {1000: (200_000, 0.6), 100: (50_000, 0.5)}
_SINGLE = 10_000
_WARM = 1_000
_CLIENTS = 256
_SENDERS = 4
_USERS = 20_000
_KINDS = ("login", "page_view", "lesson_start", "lesson_complete", "quiz_pass")
_EVENTS = "COPY events (message_id, user_id, event, metadata, source, session_id, created_at, received_at,"
_EVENTS += " amount, seconds, course_id, lesson_id) FROM STDIN"
_KEYS = "COPY event_keys (message_id, received_on, body_hash) FROM STDIN"


def measure(server: EmbeddedServer, *, say: Say) -> list[Result]:
    """Send batches of 1000 and of 100, then single events; every comparison has fresh tables."""
    results: list[Result] = []
    for size, (count, budget) in _BATCHES.items():
        raw = _raw(server, count, size, say)
        http = _batched(server, count, size, say)
        results += [
            Result(f"raw COPY in chunks of {size}", raw, "events/s"),
            Result(f"ingest, batches of {size} over HTTP", http, "events/s"),
            Result(f"ingest, batches of {size} / raw COPY in chunks", http / raw, "ratio", budget, at_least=True),
        ]
    return results + _single(server, say)


def _raw(server: EmbeddedServer, count: int, size: int, say: Say) -> float:
    now = clock.now()
    rows = [_row(number, now) for number in range(count)]
    with _fresh(server, now) as store, timed(say, f"raw COPY of {count:,} in chunks of {size}") as watch:
        for first in range(0, count, size):
            _copy(store, rows[first : first + size], now)
    return count / watch.seconds


def _batched(server: EmbeddedServer, count: int, size: int, say: Say) -> float:
    now = clock.now()
    with _fresh(server, now) as store, api(store, now) as service:
        requests = [
            service.request("POST", "/api/oracle/events/batch", _batch(first, size)) for first in range(0, count, size)
        ]
        load = send(service, requests, clients=_SENDERS)
    say(f"  {count:,} events over HTTP in batches of {size}: {load.seconds:.2f} s")
    return count / load.seconds


def _single(server: EmbeddedServer, say: Say) -> list[Result]:
    bare = _singles(server, "bench.no_database:application", None, say)
    durable = _singles(server, "oracle_api.app:from_environment", None, say)
    half = _singles(server, "oracle_api.app:from_environment", durable.rate / 2, say)
    name = f"single events, {_CLIENTS} clients"
    return [
        Result(f"{name}, without a database", bare.rate, "events/s"),
        Result(f"ingest, {name}", durable.rate, "events/s"),
        Result(f"ingest, {name} / without a database", durable.rate / bare.rate, "ratio", 0.3, at_least=True),
        Result(f"ingest, {name}, p99 at half load", half.at(99), "ms", 100),
    ]


def _singles(server: EmbeddedServer, factory: str, rate: float | None, say: Say) -> Load:
    now = clock.now()
    with _fresh(server, now) as store, api(store, now, factory=factory) as service:
        requests = [service.request("POST", "/api/oracle/events", _body(number)) for number in range(_SINGLE)]
        # The first of each connection pays for what a process does once.
        send(service, requests[:_WARM], clients=_CLIENTS)
        load = send(service, requests[_WARM:], clients=_CLIENTS, rate=rate)
    say(f"  single events, {factory.partition(':')[0]}: {load.rate:,.0f}/s, p99 {load.at(99):.0f} ms")
    return load


@contextmanager
def _fresh(server: EmbeddedServer, now: datetime) -> Iterator[Store]:
    """Give a database with room for today's events and keys."""
    with database(server, "ingest") as store:
        with store.transaction() as conn:
            partitions.ensure_days(conn, [now.date() - timedelta(days=1), now.date()], now.date())
            partitions.ensure_keys(conn, now.date())
        yield store


def _fields(number: int) -> tuple[str, str, dict[str, object]]:
    rnd = random.Random(number)
    metadata: dict[str, object] = {
        "courseId": f"c{rnd.randrange(3)}",
        "lessonId": f"l{rnd.randrange(60)}",
        "timeSpent": rnd.randrange(600),
    }
    return f"u{rnd.randrange(_USERS)}", rnd.choice(_KINDS), metadata


def _body(number: int) -> bytes:
    user, event, metadata = _fields(number)
    named = {"userId": user, "event": event, "sessionId": f"s{number // 8}", "messageId": f"m-{number:012}"}
    return msgspec.json.encode({**named, "metadata": metadata})


def _batch(first: int, size: int) -> bytes:
    return b"[" + b",".join(_body(number) for number in range(first, first + size)) + b"]"


def _row(number: int, now: datetime) -> tuple[Any, ...]:
    user, event, metadata = _fields(number)
    body = msgspec.json.encode(metadata).decode()
    facts = (None, metadata["timeSpent"], metadata["courseId"], metadata["lessonId"])
    return (f"m-{number:012}", user, event, body, "bench", f"s{number // 8}", now, now, *facts)


def _copy(store: Store, rows: Sequence[tuple[Any, ...]], now: datetime) -> None:
    with store.transaction() as conn:
        driver = conn.connection.driver_connection
        assert driver is not None
        with driver.cursor() as cursor:
            with cursor.copy(_EVENTS) as copy:
                for row in rows:
                    copy.write_row(row)
            with cursor.copy(_KEYS) as copy:
                for row in rows:
                    copy.write_row((row[0], now.date(), blake2b(row[3].encode(), digest_size=16).digest()))
