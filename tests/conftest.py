"""One embedded PostgreSQL 18 for the whole test session, a database of its own for each test that asks for one.

Workers of pytest-xdist share the server through a folder; the first to come starts it, the last to leave stops it.
"""

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection

from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.migrate import migrate
from tests.alone import room
from tests.together import TogetherScheduling

_TEMPLATE = "oracle_template"
_numbers = itertools.count()
# Durability of the test server is not what tests measure; guarantees that kill it start a server of their own.
_FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "shared_buffers": "256MB"}

# Otherwise what a test sends would wait at night.
os.environ.setdefault("ORACLE_QUIET_HOURS", "")

FULL = os.environ.get("ORACLE_FULL") == "1"
NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> TogetherScheduling:
    """Keep tests that share a world on one worker."""
    return TogetherScheduling(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let tests that are marked `alone` run while no other worker runs one."""
    with room(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _counted(folder: Path) -> Iterator[int]:
    """Hold the folder's lock and yield how many workers are using it; the caller writes the new number."""
    with (folder / "users").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield int(file.read() or 0)


def _write(folder: Path, count: int) -> None:
    (folder / "users").write_text(str(count))


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The session's PostgreSQL, with a migrated template database."""
    shared = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"oracle-test-{shared}"
    folder.mkdir(exist_ok=True)
    found = EmbeddedServer(folder, config=_FAST)
    with _counted(folder) as users:
        if users == 0:
            found.start()
            store = Store(found.ensure_database(_TEMPLATE))
            with store.transaction() as conn:
                migrate(conn)
            store.close()
        _write(folder, users + 1)
    yield found
    with _counted(folder) as users:
        _write(folder, users - 1)
        if users == 1:
            found.stop("immediate")
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(server: EmbeddedServer) -> Iterator[str]:
    """Make a migrated database and drop it afterwards."""
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{next(_numbers)}"
    yield server.ensure_database(name, template=_TEMPLATE)
    server.drop_database(name)


@pytest.fixture
def database_url(server: EmbeddedServer) -> Iterator[str]:
    """The address of a fresh, migrated database that is gone after the test."""
    with fresh_database(server) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """The fresh database, for tests that need several transactions."""
    made = Store(database_url)
    yield made
    made.close()


@contextmanager
def home_folder() -> Iterator[Path]:
    """A folder for a PostgreSQL of a test's own.

    Not under pytest's: each session that starts as root closes that tree to the user PostgreSQL runs as.
    """
    with tempfile.TemporaryDirectory(prefix="oracle-", ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.fixture
def home() -> Iterator[Path]:
    """As `home_folder`, for one test."""
    with home_folder() as made:
        yield made


@pytest.fixture
def second_store(server: EmbeddedServer) -> Iterator[Store]:
    """Another fresh database, to compare with."""
    with fresh_database(server) as url:
        made = Store(url)
        yield made
        made.close()


@pytest.fixture
def conn(store: Store) -> Iterator[Connection]:
    """One open transaction on the fresh database."""
    with store.engine.connect() as connection:
        yield connection


@pytest.fixture
def now() -> datetime:
    """The moment tests stand at: a Wednesday at noon, UTC."""
    return NOW


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; its absence is the one reason to skip."""
    folder = os.environ.get("ORACLE_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ORACLE_DATA names no folder of real data")
    return Path(folder)
