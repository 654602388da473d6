"""What is wrong with an installation, and how to mend it. Looks; changes nothing."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from oracle_lib.cli import home, services
from oracle_lib.cli.supervisor import Service, port_taken
from oracle_lib.errors import OracleError
from oracle_lib.execute.channels import Outbox, installed
from oracle_lib.observe.ingest import oldest_dirty
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.migrate import head, revision

_DIRTY_TOO_LONG = timedelta(minutes=5)
_OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Diagnosis:
    """One thing looked at: whether it is well, what was seen, and the cure when it is not."""

    subject: str
    well: bool
    detail: str
    cure: str = ""


def examine(settings: Settings, now: datetime) -> list[Diagnosis]:
    """Look at everything, each on its own: one ill does not hide the next."""
    up = home.is_up(settings)
    found = [_python(), _home_folder(settings), _dagster_home(settings), *_channels(settings)]
    found += [_port(service, up) for service in (services.api(settings), services.dagster_webserver(settings))]
    return [*found, *_database(settings, now, up)]


def _python() -> Diagnosis:
    version = ".".join(map(str, sys.version_info[:3]))
    return Diagnosis("Python", sys.version_info >= _OLDEST_PYTHON, version, "ORACLE needs Python 3.11 or newer.")


def _home_folder(settings: Settings) -> Diagnosis:
    folder = settings.home_path
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    writable = nearest.is_dir() and os.access(nearest, os.W_OK)
    return Diagnosis("Home", writable, f"{folder}", "Make it writable, or set ORACLE_HOME to another folder.")


def _dagster_home(settings: Settings) -> Diagnosis:
    try:
        ours = home.root_file("dagster.yaml").read_bytes()
    except OracleError as error:
        return Diagnosis("Dagster home", False, str(error), "Install from the repository.")
    copied = settings.home_path / "dagster" / "dagster.yaml"
    if not copied.exists():
        return Diagnosis("Dagster home", True, "not made yet: `oracle up` makes it")
    same = copied.read_bytes() == ours
    return Diagnosis("Dagster home", same, str(copied.parent), "Its dagster.yaml differs; `oracle up` copies it anew.")


def _channels(settings: Settings) -> Iterator[Diagnosis]:
    """Look at the settings of each channel only: nobody is sent anything."""
    for action_type, name in installed.chosen(settings).items():
        subject = f"Channel for {action_type}"
        if fault := installed.fault(settings, name):
            cure = "Until then nothing is sent and what is approved waits."
            yield Diagnosis(subject, False, f"{name}: {fault}", cure)
        elif name == Outbox.name:
            yield Diagnosis(subject, True, "outbox: messages are kept and nobody is written to")
        else:
            yield Diagnosis(subject, True, f"{name} is set up; `oracle send-test {action_type}` tries it")


def _port(service: Service, up: bool) -> Diagnosis:
    if service.host is None or service.port is None:
        raise ValueError(f"{service.name} has no port.")
    taken = port_taken(service.host, service.port)
    subject = f"Port {service.port} for {service.name}"
    if up:
        return Diagnosis(subject, service.answers(), "ours, while ORACLE is up", "It does not answer: read its log.")
    return Diagnosis(
        subject, not taken, "taken" if taken else "free", f"Stop what listens, or set {service.port_setting}."
    )


def _database(settings: Settings, now: datetime, up: bool) -> Iterator[Diagnosis]:
    embedded = settings.database_url is None
    if embedded and not up and not (settings.home_path / "postgres").exists():
        yield Diagnosis("Database", True, "embedded, not made yet: `oracle up` makes it")
        return
    try:
        with home.database(settings) as addresses:
            store = Store(addresses.oracle)
            try:
                with store.transaction() as conn:
                    yield Diagnosis(
                        "Database", True, f"answers, PostgreSQL {conn.scalar(sa.text('SHOW server_version'))}"
                    )
                    yield from _contents(conn, now)
            finally:
                store.close()
    except (OracleError, sa.exc.SQLAlchemyError) as error:
        cure = "Read postgres/log in the home." if embedded else "Check ORACLE_DATABASE_URL and that the server runs."
        yield Diagnosis("Database", False, str(error).splitlines()[0], cure)


def _contents(conn: sa.Connection, now: datetime) -> Iterator[Diagnosis]:
    stands, newest = revision(conn), head()
    yield Diagnosis("Migrations", stands == newest, f"at {stands or 'none'}, newest {newest}", "Run `oracle migrate`.")
    if stands is None:
        return
    since = oldest_dirty(conn)
    waits = since is not None and now - since > _DIRTY_TOO_LONG
    detail = f"the oldest event waits since {since:%Y-%m-%d %H:%M} UTC" if since else "nothing waits"
    yield Diagnosis("Counting", not waits, detail, "Is the Dagster daemon running? `oracle run daily` counts now.")
