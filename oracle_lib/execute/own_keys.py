"""Keys that the installation makes for itself, once, and keeps in the table `secrets`."""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.storage.tables import secrets


def kept(conn: Connection, name: str, make: Callable[[], bytes]) -> bytes:
    """Return the key of this name; the first caller makes it, however many ask at once."""
    query = sa.select(secrets.c.value).where(secrets.c.name == name)
    found: bytes | None = conn.scalar(query)
    if found is None:
        conn.execute(insert(secrets).values(name=name, value=make()).on_conflict_do_nothing())
        found = conn.scalars(query).one()
    return found
