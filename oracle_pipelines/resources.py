"""What assets are handed: the database, and the clock's moment. Nothing connects before the first transaction."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import dagster as dg
from sqlalchemy import Connection

from oracle_lib import settings
from oracle_lib.errors import Permanent
from oracle_lib.storage.engine import Store


@cache
def _connect(url: str) -> Store:
    return Store(url)


class Database(dg.ConfigurableResource):
    """The database ORACLE works on. `url`: a PostgreSQL address; unset, `ORACLE_DATABASE_URL`."""

    url: str | None = None

    @property
    def store(self) -> Store:
        """The store, one a process and address."""
        found = self.url or settings.get().database_url
        if found is None:
            raise Permanent(
                "ORACLE_DATABASE_URL is not set. `oracle up` sets it for Dagster; by hand: eval $(oracle env)."
            )
        return _connect(found)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a connection in a transaction; commit at the end, roll back on any exception."""
        with self.store.transaction() as conn:
            yield conn


def owner(run_id: str) -> str:
    """Return the name under which a run claims actions: which run, on which machine, in which process."""
    return f"dagster:{run_id[:8]}@{socket.gethostname()}:{os.getpid()}"
