"""A real server on a loopback port for each test, and clients that hold a key."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Connection

from oracle_api.app import create_app
from oracle_lib import access, clock
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store

MakeClient = Callable[..., httpx.Client]


@contextmanager
def serving(store: Store, settings: Settings) -> Iterator[str]:
    """Serve the application over real HTTP and yield its address."""
    with serving_app(create_app(store, settings)) as address:
        yield address


@contextmanager
def serving_app(app: FastAPI) -> Iterator[str]:
    """The same for any application."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert server.started
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=20)


def make_key(conn: Connection, *scopes: str, source: str = "test backend") -> str:
    return access.create(conn, source, scopes, clock.now(), environment="test").key


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, environment="test")


@pytest.fixture
def base_url(store: Store, settings: Settings) -> Iterator[str]:
    """The address of a server on the test's own database."""
    with serving(store, settings) as address:
        yield address


@pytest.fixture
def client_with(store: Store, base_url: str) -> Iterator[MakeClient]:
    """Makes clients whose key has the given scopes."""
    made: list[httpx.Client] = []

    def make(*scopes: str) -> httpx.Client:
        with store.transaction() as conn:
            key = make_key(conn, *scopes)
        made.append(httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=30))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(client_with: MakeClient) -> httpx.Client:
    """A client that may do everything."""
    return client_with("admin")
