"""G1, test E1: what was answered with 2xx is stored, once, whatever is killed: the API, or PostgreSQL itself.

A server of its own with its durability on; the API in its own process, killed at random moments and started again;
PostgreSQL stopped as if the power went. A backend sends until each event is answered, then a share of them again.
"""

import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.migrate import migrate
from oracle_lib.storage.tables import events
from tests.api.conftest import make_key
from tests.conftest import FULL
from tests.guarantees.events_client import deliver
from tests.guarantees.receiver import Receiver, api

EVENTS, KILLS, RESTARTS = (1_000_000, 20, 5) if FULL else (50_000, 5, 1)
AGAIN = EVENTS // 20
SINGLES = EVENTS // 100
GIVE_UP_SECONDS = 3_000 if FULL else 150


@pytest.fixture
def durable(home: Path) -> Iterator[EmbeddedServer]:
    """A PostgreSQL that may be killed: not the session's, and with its durability on."""
    server = EmbeddedServer(home)
    server.start()
    yield server
    server.stop("immediate")


def stored(store: Store) -> list[str]:
    with store.transaction() as conn:
        return list(conn.execute(sa.select(events.c.message_id)).scalars())


def disturb(receiver: Receiver, server: EmbeddedServer, done: threading.Event, kills: int, restarts: int) -> None:
    """Kill the API and PostgreSQL so many times, at random moments."""
    rnd = random.Random(1)
    blows = ["api"] * kills + ["postgres"] * restarts
    rnd.shuffle(blows)
    for blow in blows:
        if done.wait(rnd.uniform(0.3, 1.2) * (10 if FULL else 1)):
            return
        if blow == "api":
            receiver.kill()
            receiver.start()
        else:
            server.stop("immediate")
            server.start()


def test_every_acknowledged_event_is_stored_once_through_kills_of_api_and_database(durable: EmbeddedServer) -> None:
    store = Store(durable.ensure_database("oracle"))
    with store.transaction() as conn:
        migrate(conn)
        key = make_key(conn, "events:write")
    receiver = Receiver(api, store.url)
    done = threading.Event()
    blows = threading.Thread(target=disturb, args=(receiver, durable, done, KILLS, RESTARTS))
    blows.start()
    until = time.monotonic() + GIVE_UP_SECONDS
    batches = deliver(receiver.address, key, range(SINGLES, EVENTS), batch=200, clients=4, until=until)
    singles = deliver(receiver.address, key, range(SINGLES), batch=1, clients=8, until=until)
    blows.join()
    again = deliver(receiver.address, key, range(EVENTS - AGAIN, EVENTS), batch=200, clients=2, until=until)
    receiver.kill()
    kept = stored(store)
    store.close()
    acknowledged = batches.acknowledged | singles.acknowledged
    assert len(acknowledged) == EVENTS
    assert acknowledged - set(kept) == set()
    assert len(kept) == EVENTS
    assert (again.accepted, again.duplicate) == (0, AGAIN)
    assert batches.unanswered + singles.unanswered > 0
    assert set(batches.refused) | set(singles.refused) <= {503}


def test_control_a_receiver_that_answers_before_it_stores_loses_events(durable: EmbeddedServer) -> None:
    store = Store(durable.ensure_database("oracle"))
    with store.transaction() as conn:
        migrate(conn)
    receiver = Receiver(
        lambda port: [sys.executable, "-m", "tests.guarantees.acknowledging_early", store.url, str(port)], store.url
    )
    done = threading.Event()
    blows = threading.Thread(target=disturb, args=(receiver, durable, done, 3, 0))
    blows.start()
    log = deliver(receiver.address, "none", range(60_000), batch=200, clients=2, until=time.monotonic() + 60)
    done.set()
    blows.join()
    time.sleep(1.0)
    receiver.kill()
    assert len(log.acknowledged - set(stored(store))) > 0
    store.close()
