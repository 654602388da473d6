"""The stock Segment clients deliver every event once while the API is killed and restarted; nothing of ours is in them.

An outage lasts as long as the API takes to start, 2 to 6 s on two busy cores, and the clients' queues are sized for it.
Full size (`ORACLE_FULL=1`): 10,000 events each.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import segment.analytics as analytics
import sqlalchemy as sa

from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import events, rejected_events
from tests.api.conftest import make_key
from tests.conftest import FULL
from tests.guarantees.receiver import Receiver, api

EVENTS, A_SECOND, KILLS = (10_000, 250, 8) if FULL else (500, 150, 2)
NODE = Path(__file__).parent / "node"


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    """The API in a process of its own."""
    started = Receiver(api, store.url)
    yield started
    started.kill()


@pytest.fixture
def write_key(store: Store) -> str:
    with store.transaction() as conn:
        return make_key(conn, "events:write", "users:write")


@pytest.fixture(scope="session")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the npm client as the lock pins it; npm checks every package against its hash."""
    if shutil.which("npm") is None:
        missing = "Node.js with npm is not installed: the stock npm client cannot be tested"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "deliver.mjs"):
        shutil.copy(NODE / name, folder)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=120)
    return folder


def kill_while(receiver: Receiver, deliver: Callable[[], None]) -> None:
    """Deliver while the API is killed again and again."""
    outages = []
    with ThreadPoolExecutor(1) as thread:
        delivery = thread.submit(deliver)
        for _ in range(KILLS):
            time.sleep(EVENTS / A_SECOND / (KILLS + 1))
            if delivery.done():
                break
            down = time.monotonic()
            receiver.kill()
            receiver.start()
            outages.append(f"{time.monotonic() - down:.1f}")
        delivery.result()
    assert outages
    print(f"{EVENTS} events, outages of {', '.join(outages)} s")


def assert_each_stored_once(store: Store, prefix: str) -> None:
    with store.transaction() as conn:
        rows = conn.execute(sa.select(events.c.message_id, events.c.user_id, events.c.event, events.c.metadata)).all()
        refused = conn.scalar(sa.select(sa.func.count()).select_from(rejected_events))
    found = sorted((row.message_id, row.user_id, row.event, row.metadata["n"]) for row in rows)
    assert found == sorted((f"{prefix}-{n}", f"u{n % 50}", "lesson_complete", n) for n in range(EVENTS))
    assert refused == 0


def test_the_python_client_delivers_every_event_once_while_the_api_is_killed(
    receiver: Receiver, write_key: str, store: Store
) -> None:
    given_up: list[object] = []

    def deliver() -> None:
        client = analytics.Client(
            write_key,
            host=receiver.address,
            gzip=True,
            max_queue_size=2 * EVENTS,
            upload_size=20,
            upload_interval=0.2,
            on_error=lambda error, items: given_up.append((error, items)),
        )
        started = time.monotonic()
        for n in range(EVENTS):
            client.track(f"u{n % 50}", "Lesson Completed", {"n": n}, message_id=f"python-{n}")
            time.sleep(max(0.0, started + n / A_SECOND - time.monotonic()))
        client.shutdown()

    kill_while(receiver, deliver)
    assert given_up == []
    assert_each_stored_once(store, "python")


def test_the_npm_client_delivers_every_event_once_while_the_api_is_killed(
    receiver: Receiver, write_key: str, store: Store, node_client: Path
) -> None:
    told: list[dict[str, int]] = []

    def deliver() -> None:
        command = ["node", "deliver.mjs", receiver.address, write_key, str(EVENTS), str(A_SECOND)]
        ended = subprocess.run(command, cwd=node_client, capture_output=True, text=True, check=True, timeout=280)
        told.append(json.loads(ended.stdout))

    kill_while(receiver, deliver)
    assert told == [{"failed": 0}]
    assert_each_stored_once(store, "node")


def test_the_lock_of_the_npm_client_has_hashes_and_names_no_registry() -> None:
    lock = (NODE / "package-lock.json").read_text()
    packages = {name: package for name, package in json.loads(lock)["packages"].items() if name}
    assert packages["node_modules/@segment/analytics-node"]["version"] == "3.1.0"
    assert [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    assert "://" not in lock
