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
from tests.guarantees.events_client import Log, deliver
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


class Blows(threading.Thread):
    """Kills the API and PostgreSQL so many times, each when a random number of events is answered; counts the blows."""

    def __init__(
        self, receiver: Receiver, server: EmbeddedServer, log: Log, *, kills: int, restarts: int, among: int
    ) -> None:
        super().__init__()
        self.dealt = 0
        self._receiver, self._server, self._log = receiver, server, log
        rnd = random.Random(1)
        self._blows = ["api"] * kills + ["postgres"] * restarts
        rnd.shuffle(self._blows)
        # The last one falls among the single events, which are sent after the batches.
        self._moments = [*sorted(rnd.randrange(among) for _ in self._blows[1:]), among - SINGLES // 2]
        self._done = threading.Event()

    def run(self) -> None:
        """Deal one blow after the other."""
        for blow, moment in zip(self._blows, self._moments, strict=True):
            while len(self._log.acknowledged) < moment:
                if self._done.wait(0.005):
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
    log, again = Log(), Log()
    blows = Blows(receiver, durable, log, kills=KILLS, restarts=RESTARTS, among=EVENTS)
    blows.start()
    until = time.monotonic() + GIVE_UP_SECONDS
    deliver(receiver.address, key, range(SINGLES, EVENTS), log, batch=200, clients=4, until=until)
    deliver(receiver.address, key, range(SINGLES), log, batch=1, clients=8, until=until)
    blows.end()
    deliver(receiver.address, key, range(EVENTS - AGAIN, EVENTS), again, batch=200, clients=2, until=until)
    receiver.kill()
    kept = stored(store)
    store.close()
    print(f"{EVENTS:,} events, {blows.dealt} blows, {log.unanswered:,} requests without an answer")
    assert blows.dealt == KILLS + RESTARTS
    assert len(log.acknowledged) == EVENTS
    assert log.acknowledged - set(kept) == set()
    assert len(kept) == EVENTS
    assert (again.accepted, again.duplicate) == (0, AGAIN)
    assert log.unanswered > 0
    assert set(log.refused) <= {503}


def test_control_a_receiver_that_answers_before_it_stores_loses_events(durable: EmbeddedServer) -> None:
    store = Store(durable.ensure_database("oracle"))
    with store.transaction() as conn:
        migrate(conn)
    receiver = Receiver(
        lambda port: [sys.executable, "-m", "tests.guarantees.acknowledging_early", store.url, str(port)], store.url
    )
    log = Log()
    blows = Blows(receiver, durable, log, kills=3, restarts=0, among=60_000)
    blows.start()
    deliver(receiver.address, "none", range(60_000), log, batch=200, clients=2, until=time.monotonic() + 60)
    blows.end()
    time.sleep(1.0)
    receiver.kill()
    assert len(log.acknowledged - set(stored(store))) > 0
    store.close()
