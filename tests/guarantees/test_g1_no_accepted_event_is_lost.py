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
# Seconds between blows: all of them have to fall while events are sent.
PACE = 2.0 if FULL else 0.3
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


class Blows(threading.Thread):
    """Kills the API and PostgreSQL so many times, at random moments, until it is told to stop; counts the blows."""

    def __init__(self, receiver: Receiver, server: EmbeddedServer, *, kills: int, restarts: int, pace: float) -> None:
        super().__init__()
        self.dealt = 0
        self._receiver, self._server, self._pace = receiver, server, pace
        self._rnd = random.Random(1)
        self._blows = ["api"] * kills + ["postgres"] * restarts
        self._rnd.shuffle(self._blows)
        self._done = threading.Event()

    def run(self) -> None:
        """Deal one blow after the other, `pace` seconds apart on average."""
        for blow in self._blows:
            if self._done.wait(self._rnd.uniform(0.4, 1.6) * self._pace):
                return
            if blow == "api":
                self._receiver.kill()
                self._receiver.start()
            else:
                self._server.stop("immediate")
                self._server.start()
            self.dealt += 1

    def end(self) -> None:
        """Deal no more."""
        self._done.set()
        self.join()


def test_every_acknowledged_event_is_stored_once_through_kills_of_api_and_database(durable: EmbeddedServer) -> None:
    store = Store(durable.ensure_database("oracle"))
    with store.transaction() as conn:
        migrate(conn)
        key = make_key(conn, "events:write")
    receiver = Receiver(api, store.url)
    blows = Blows(receiver, durable, kills=KILLS, restarts=RESTARTS, pace=PACE)
    blows.start()
    until = time.monotonic() + GIVE_UP_SECONDS
    batches = deliver(receiver.address, key, range(SINGLES, EVENTS), batch=200, clients=4, until=until)
    singles = deliver(receiver.address, key, range(SINGLES), batch=1, clients=8, until=until)
    blows.end()
    again = deliver(receiver.address, key, range(EVENTS - AGAIN, EVENTS), batch=200, clients=2, until=until)
    receiver.kill()
    kept = stored(store)
    store.close()
    print(
        f"{EVENTS:,} events, {blows.dealt} blows, {batches.unanswered + singles.unanswered} requests without an answer"
    )
    assert blows.dealt == KILLS + RESTARTS
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
    blows = Blows(receiver, durable, kills=3, restarts=0, pace=0.7)
    blows.start()
    log = deliver(receiver.address, "none", range(60_000), batch=200, clients=2, until=time.monotonic() + 60)
    blows.end()
    time.sleep(1.0)
    receiver.kill()
    assert len(log.acknowledged - set(stored(store))) > 0
    store.close()
