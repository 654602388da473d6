"""One installation's home folder: its database, Dagster's files, its logs, and who is using them.

    $ORACLE_HOME/postgres      the embedded server's data        (not with ORACLE_DATABASE_URL)
    $ORACLE_HOME/dagster       DAGSTER_HOME, with the root dagster.yaml copied in
    $ORACLE_HOME/logs          what each child process wrote
    $ORACLE_HOME/*.lock        held while `oracle up` runs, and by every process that uses the embedded server

The embedded server is stopped by whoever uses it last: a command never stops it under `oracle up`, nor the other way.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from oracle_lib.errors import Conflict, Permanent
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store, create_database, psycopg2_url, psycopg_url

# `dagster.yaml` and `workspace.yaml` stand at the root of the repository, beside the packages.
ROOT = Path(__file__).parents[2]
_DATABASE, _DAGSTER_DATABASE = "oracle", "dagster"
# A run over many days leaves an event a day and asset. Dagster stores them one by one, a connection each, unless told
# to store a batch at a time and to plan a range as a whole: measured, 638 days of the daily job go from minutes to
# seconds.
_DAGSTER_EVENTS = {"DAGSTER_EVENT_BATCH_SIZE": "1000", "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "1"}


@dataclass(frozen=True)
class Addresses:
    """Where the two databases are: ours, and Dagster's in the form its driver needs."""

    oracle: str
    dagster: str


@contextmanager
def database(settings: Settings) -> Iterator[Addresses]:
    """Yield the addresses of a running server with both databases there, starting the embedded one if need be."""
    if settings.database_url is not None:
        yield _external(settings, settings.database_url)
        return
    from oracle_lib.storage.embedded import EmbeddedServer

    home = settings.home_path
    home.mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(home)
    with (home / "postgres.lock").open("a+") as users, (home / "postgres-start.lock").open("a+") as starting:
        with _held(starting):
            server.start()
            fcntl.flock(users, fcntl.LOCK_SH)
            ours, dagsters = server.ensure_database(_DATABASE), server.ensure_database(_DAGSTER_DATABASE)
        try:
            yield Addresses(ours, psycopg2_url(settings.dagster_database_url or dagsters))
        finally:
            with _held(starting):
                if _lock_now(users):
                    server.stop()


@contextmanager
def store(settings: Settings) -> Iterator[Store]:
    """Yield a store on the home's database, at the newest migration."""
    from oracle_lib.storage.migrate import migrate

    with database(settings) as addresses:
        opened = Store(addresses.oracle)
        try:
            with opened.transaction() as conn:
                migrate(conn)
            yield opened
        finally:
            opened.close()


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Hold the home for one `oracle up`. Raises `Conflict` while another one runs on it."""
    settings.home_path.mkdir(parents=True, exist_ok=True)
    with (settings.home_path / "up.lock").open("a+") as file:
        if not _lock_now(file):
            file.seek(0)
            raise Conflict(
                f"ORACLE is already up on {settings.home_path} (process {file.read().strip() or 'unknown'}). "
                "Use it, stop it with Ctrl-C there, or set ORACLE_HOME to another folder."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_up(settings: Settings) -> bool:
    """Say whether `oracle up` runs on this home."""
    path = settings.home_path / "up.lock"
    if not path.exists():
        return False
    with path.open("a+") as file:
        return not _lock_now(file)


def environment(settings: Settings, addresses: Addresses) -> dict[str, str]:
    """Return what a process needs in its environment to work on this home, Dagster's own programs included."""
    return {
        "ORACLE_HOME": str(settings.home_path),
        "ORACLE_DATABASE_URL": addresses.oracle,
        "ORACLE_DAGSTER_DATABASE_URL": addresses.dagster,
        "ORACLE_QUIET_HOURS": settings.quiet_hours,
        "DAGSTER_HOME": str(settings.home_path / "dagster"),
        **_DAGSTER_EVENTS,
    }


def prepare_dagster(settings: Settings) -> Path:
    """Make DAGSTER_HOME with this version's dagster.yaml in it; return it."""
    folder = settings.home_path / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root_file("dagster.yaml"), folder / "dagster.yaml")
    return folder


def root_file(name: str) -> Path:
    """Return the path of a file at the root. Raises `Permanent` when the packages stand without it."""
    path = ROOT / name
    if not path.exists():
        raise Permanent(f"{name} is not beside the packages in {ROOT}: install with `pip install --editable .`")
    return path


def _external(settings: Settings, url: str) -> Addresses:
    """Return the addresses on a server that is not ours, making Dagster's database if we may."""
    if settings.dagster_database_url is not None:
        return Addresses(url, psycopg2_url(settings.dagster_database_url))
    engine = sa.create_engine(psycopg_url(url), isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 10})
    try:
        with engine.connect() as conn:
            create_database(conn, _DAGSTER_DATABASE)
    except sa.exc.ProgrammingError as error:
        raise Permanent(
            f"There is no database `{_DAGSTER_DATABASE}` and this role may not make one. "
            "Make it, or set ORACLE_DAGSTER_DATABASE_URL."
        ) from error
    except sa.exc.OperationalError as error:
        raise Permanent(f"ORACLE_DATABASE_URL does not answer: {error.orig}") from error
    finally:
        engine.dispose()
    return Addresses(
        url, psycopg2_url(make_url(url).set(database=_DAGSTER_DATABASE).render_as_string(hide_password=False))
    )


@contextmanager
def _held(file: IO[str]) -> Iterator[None]:
    """Hold the file's lock, waiting for it."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _lock_now(file: IO[str]) -> bool:
    """Take the file's lock alone if nobody holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
