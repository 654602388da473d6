"""The dirty queues: what waits to be worked out again, kept in the database and nowhere else.

A stage takes its work with `DELETE ... RETURNING` in the transaction that writes what it derives, and hands the users
on to the next stage in the same transaction. Kill it anywhere: its work is still queued, or done and handed on. Writers
only append, so no writer waits for a stage and none is overlooked (guarantee G3).
"""

from datetime import date
from typing import Literal

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.publish import compiled, run
from oracle_lib.storage.relations import scratch

Stage = Literal["activity", "segments", "predictions", "rules"]

WORK_DAYS = "work_days"
WORK_USERS = "work_users"


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


def take_users(conn: Connection, stage: Stage) -> int:
    """Move every user that waits for `stage` into the temporary table `WORK_USERS`; return how many distinct ones."""
    run(conn, f"DROP TABLE IF EXISTS {WORK_USERS}")
    run(conn, f"CREATE TEMPORARY TABLE {WORK_USERS} (user_id text PRIMARY KEY) ON COMMIT DROP")
    taken = conn.execute(
        sa.text(
            "WITH taken AS (DELETE FROM dirty_users WHERE stage = :stage RETURNING user_id)"
            " INSERT INTO work_users SELECT DISTINCT user_id FROM taken"
        ),
        {"stage": stage},
    )
    run(conn, f"ANALYZE {WORK_USERS}")
    return taken.rowcount


def add_users(conn: Connection, users: ibis.Table) -> None:
    """Add users (user_id) to the work that was taken."""
    run(conn, f"INSERT INTO {WORK_USERS} {compiled(users)} ON CONFLICT DO NOTHING")
    run(conn, f"ANALYZE {WORK_USERS}")


def work_size(conn: Connection) -> int:
    """Return how many users are in the work that was taken."""
    return int(run(conn, f"SELECT count(*) FROM {WORK_USERS}").scalar_one())


def hand_on(conn: Connection, stage: Stage, *, source: str = WORK_USERS) -> None:
    """Queue the users of a temporary table for the next stage."""
    run(conn, f"INSERT INTO dirty_users (stage, user_id) SELECT DISTINCT '{stage}', user_id FROM {source}")


def work_users() -> ibis.Table:
    """Return the relation of `WORK_USERS`."""
    return scratch(WORK_USERS, {"user_id": "string"})


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
