"""The dirty queues: what waits to be worked out again, kept in the database and nowhere else.

A stage takes its work with `DELETE ... RETURNING` in the transaction that writes what it derives, and hands the users
on to the next stage in the same transaction. Kill it anywhere: its work is still queued, or done and handed on. Writers
only append, so no writer waits for a stage and none is overlooked (guarantee G3). Everybody is one row, not one each.
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.publish import Scope, compiled, run
from oracle_lib.storage.relations import scratch

Stage = Literal["activity", "segments", "predictions", "rules"]

WORK_DAYS = "work_days"
WORK_USERS = "work_users"


@dataclass(frozen=True)
class Work:
    """Whom a stage works out: the users of a temporary table, or everybody where `table` is None."""

    table: str | None

    @property
    def users(self) -> ibis.Table | None:
        """The relation (user_id) that narrows an expression; None narrows nothing."""
        return None if self.table is None else scratch(self.table, {"user_id": "string"})

    @property
    def scope(self) -> Scope:
        """The rows a stage with this work answers for."""
        return Scope(self.table)


EVERYONE = Work(None)


def take_days(conn: Connection) -> int:
    """Move every dirty (user, day) pair into the temporary table `WORK_DAYS`; return how many distinct ones.

    Days whose raw events were dropped keep their rollup: there is nothing left to count them from.
    """
    run(conn, f"DROP TABLE IF EXISTS {WORK_DAYS}")
    run(conn, f"CREATE TEMPORARY TABLE {WORK_DAYS} (user_id text, day date) ON COMMIT DROP")
    taken = run(
        conn,
        "WITH taken AS (DELETE FROM dirty_user_days RETURNING user_id, day)"
        " INSERT INTO work_days SELECT DISTINCT user_id, day FROM taken"
        " WHERE day NOT IN (SELECT day FROM sealed_days)",
    )
    run(conn, f"ANALYZE {WORK_DAYS}")
    return taken.rowcount


def take_users(conn: Connection, stage: Stage) -> Work:
    """Take every user that waits for `stage` out of the queue, into the temporary table `WORK_USERS`."""
    run(conn, f"DROP TABLE IF EXISTS {WORK_USERS}")
    run(conn, f"CREATE TEMPORARY TABLE {WORK_USERS} (user_id text) ON COMMIT DROP")
    everyone = conn.scalar(
        sa.text(
            "WITH taken AS (DELETE FROM dirty_users WHERE stage = :stage RETURNING user_id), named AS"
            " (INSERT INTO work_users SELECT DISTINCT user_id FROM taken WHERE user_id IS NOT NULL)"
            " SELECT bool_or(user_id IS NULL) FROM taken"
        ),
        {"stage": stage},
    )
    run(conn, f"ANALYZE {WORK_USERS}")
    return EVERYONE if everyone else Work(WORK_USERS)


def add_users(conn: Connection, users: ibis.Table) -> None:
    """Add users (user_id) to the work that was taken."""
    run(conn, f"INSERT INTO {WORK_USERS} ({compiled(users)}) EXCEPT SELECT user_id FROM {WORK_USERS}")
    run(conn, f"ANALYZE {WORK_USERS}")


def hand_on(conn: Connection, stage: Stage, work: Work) -> None:
    """Queue the users of `work` for the next stage."""
    users = "SELECT NULL" if work.table is None else f"SELECT DISTINCT user_id FROM {work.table}"
    run(conn, f"INSERT INTO dirty_users (stage, user_id) SELECT '{stage}', user_id FROM ({users}) AS work (user_id)")


def work_days() -> ibis.Table:
    """Return the relation of `WORK_DAYS`."""
    return scratch(WORK_DAYS, {"user_id": "string", "day": "date"})


def stands_for(conn: Connection, stage: Stage) -> date | None:
    """Return the day for which a stage's current table stands; None before its first run."""
    found: date | None = conn.scalar(sa.text("SELECT as_of FROM watermarks WHERE stage = :stage"), {"stage": stage})
    return found


def set_stands_for(conn: Connection, stage: Stage, as_of: date) -> None:
    """Record the day for which a stage's current table stands from now on."""
    conn.execute(
        sa.text(
            "INSERT INTO watermarks (stage, as_of) VALUES (:stage, :as_of)"
            " ON CONFLICT (stage) DO UPDATE SET as_of = excluded.as_of"
        ),
        {"stage": stage, "as_of": as_of},
    )
