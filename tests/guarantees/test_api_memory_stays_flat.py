"""The API's memory does not grow with what it has taken in: ten minutes of load at full size, seconds otherwise.

Batches, single events, repeats and refused ones at once, from several clients, as a busy product sends them.
"""

import itertools
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from oracle_lib.storage.engine import Store
from tests.api.conftest import make_key
from tests.conftest import FULL
from tests.guarantees.events_client import event
from tests.guarantees.receiver import Receiver, api

SECONDS, WARM_SECONDS = (600, 30) if FULL else (8, 3)
MOST_MB = 100
BATCH = 200


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    started = Receiver(api, store.url)
    yield started
    started.kill()


def load(address: str, key: str, numbers: "itertools.count[int]", until: float, taken: list[int]) -> None:
    """Send batches, each with a repeat and a refused event, and single events in between."""
    with httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=30) as client:
        while time.monotonic() < until:
            fresh = [event(next(numbers)) for _ in range(BATCH)]
            refused = {"userId": "u", "event": "Not A Name", "metadata": {"text": "x" * 5_000}}
            answer = client.post("/api/oracle/events/batch", json=[*fresh, fresh[0], refused])
            assert answer.status_code == 202, answer.text
            taken.append(int(answer.json()["accepted"]))
            for _ in range(5):
                single = client.post("/api/oracle/events", json=event(next(numbers)))
                assert single.status_code == 202, single.text
                taken.append(1)


def run(receiver: Receiver, key: str, numbers: "itertools.count[int]", seconds: float) -> int:
    """Load the API from four clients; return how many events it stored."""
    taken: list[int] = []
    until = time.monotonic() + seconds
    clients = [threading.Thread(target=load, args=(receiver.address, key, numbers, until, taken)) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return sum(taken)


def test_memory_stays_flat_under_load(store: Store, receiver: Receiver) -> None:
    with store.transaction() as conn:
        key = make_key(conn, "events:write")
    numbers = itertools.count()
    run(receiver, key, numbers, WARM_SECONDS)
    before = receiver.memory()
    stored = run(receiver, key, numbers, SECONDS)
    growth = receiver.memory() - before
    print(f"{stored:,} events in {SECONDS} s: {before:.0f} MB and {growth:+.1f} MB")
    assert stored > 500 * SECONDS
    assert growth < MOST_MB
