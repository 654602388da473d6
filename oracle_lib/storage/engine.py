"""Connections to PostgreSQL, all alike: schema `oracle`, times in UTC, no idle transaction for ever.

Functions of `oracle_lib` take an open connection and never commit. An edge opens one with `Store.transaction`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, make_url

SCHEMA = "oracle"
quoted = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]

_SESSION_OPTIONS = {
    "search_path": f"{SCHEMA},public",
    "timezone": "UTC",
    # Sessions analyze scratch tables alone: 3,000 rows of one plan it as well as 30,000, in a tenth of the time.
    "default_statistics_target": "10",
    # A reader of the dirty queue that hangs in a transaction would hold back everyone behind its locks.
    "idle_in_transaction_session_timeout": "60s",
}
# A server that fell silent, its packets dropped on the way, is noticed within half a minute. Sockets ignore this.
_CONNECTING = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def psycopg_url(url: str) -> URL:
    """Return `url` for our driver. A bare `postgresql://` would be read as whatever SQLAlchemy prefers this year."""
    return make_url(url).set(drivername="postgresql+psycopg")


def psycopg2_url(url: str) -> str:
    """Return `url` for dagster-postgres, whose NOTIFY works with psycopg2 only."""
    return make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def create_database(conn: Connection, name: str, made_from: str = "") -> None:
    """Make a database if it is not there; fine when another process makes it at the same moment. Needs autocommit."""
    there = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")
    if conn.scalar(there, {"name": name}) is not None:
        return
    try:
        conn.exec_driver_sql(f"CREATE DATABASE {quoted(name)} {made_from}")
    except sa.exc.DBAPIError:
        if conn.scalar(there, {"name": name}) is None:
            raise


class Store:
    """One database: hands out transactions. Cheap to make; connects on first use."""

    def __init__(self, url: str, *, pool_size: int = 5, statement_seconds: int = 0) -> None:
        """Describe a database; a statement that runs for longer than `statement_seconds` is cancelled (0: never)."""
        self.url = url
        session = {**_SESSION_OPTIONS, "statement_timeout": f"{statement_seconds}s"}
        options = " ".join(f"-c {name}={value}" for name, value in session.items())
        self.engine: Engine = sa.create_engine(
            psycopg_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            connect_args={"options": options, **_CONNECTING},
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a connection in a transaction; commit at the end, roll back on any exception."""
        with self.engine.begin() as conn:
            yield conn

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
