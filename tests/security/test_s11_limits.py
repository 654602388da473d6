"""S11: a sender without end, or hundreds that never finish, cost little memory and keep nobody from being answered."""

import socket
import time
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa

from oracle_api import app
from oracle_lib.cli import services
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from tests.api.conftest import make_key
from tests.conftest import FULL
from tests.guarantees.receiver import Receiver, api

ENDLESS_MB = 10_000 if FULL else 500
SLOW = 500


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    started = Receiver(api, store.url)
    yield started
    started.kill()


def stream(receiver: Receiver, key: str) -> int:
    """Send chunks without end; return how many MB were taken off our hands before the connection closed."""
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    head = (
        f"POST /api/oracle/events HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as sender:
        sender.sendall(head.encode())
        for sent in range(ENDLESS_MB):
            try:
                sender.sendall(chunk)
            except OSError:
                return sent
    return ENDLESS_MB


def test_a_stream_without_end_is_cut_off_and_leaves_no_memory_behind(store: Store, receiver: Receiver) -> None:
    with store.transaction() as conn:
        key = make_key(conn, "events:write")
    stream(receiver, key)
    before = receiver.memory()
    taken = [stream(receiver, key) for _ in range(20)]
    assert max(taken) < 50
    assert receiver.memory() - before < 20


def test_hundreds_of_senders_that_never_finish_keep_nobody_waiting(receiver: Receiver) -> None:
    slow = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(SLOW)]
    try:
        for number, sender in enumerate(slow):
            sender.sendall(b"POST /api/oracle/events HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            if number % 2:
                sender.sendall(b"Content-Length: 100\r\n\r\n{")
        waits = []
        for _ in range(100):
            started = time.perf_counter()
            assert httpx.get(f"{receiver.address}/healthz", timeout=10).status_code == 200
            waits.append(time.perf_counter() - started)
    finally:
        for sender in slow:
            sender.close()
    assert sorted(waits)[98] < 1.0


def test_the_api_of_an_installation_bounds_its_connections_and_its_statements(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--limit-concurrency" in services.api(settings).command
    monkeypatch.setattr(app.environment, "get", lambda: settings)
    made = app.from_environment().state.edge.store
    with made.transaction() as conn:
        assert conn.scalar(sa.text("SHOW statement_timeout")) == "30s"
    made.close()
