"""Named locks that a transaction holds until it ends, over all processes on one database."""

import sqlalchemy as sa
from sqlalchemy import Connection


def lock(conn: Connection, name: str) -> None:
    """Hold the lock `name` until the transaction ends. Two that publish one table would insert the same rows."""
    conn.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"oracle:{name}"})
