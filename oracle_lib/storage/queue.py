"""The dirty queues: what waits to be worked out again, kept in the database and nowhere else.

A stage takes its work with `DELETE ... RETURNING` in the transaction that writes what it derives, and hands the users
on to the next stage in the same transaction. Kill it anywhere: its work is still queued, or done and handed on. Writers
only append, so no writer waits for a stage and none is overlooked (guarantee G3). Everybody is one row, not one each.

Each user waits for a cause, which goes along from stage to stage: `events`, `profile` or `course` where something new
is known of them, `time` where only the day moved.
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.publish import Causes, Scope, run
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
    """Take every user that waits for `stage` out of the queue, into the temporary table `WORK_USERS`.

    Also where everybody waits: it then holds those of whom something new is known.
    """
    run(conn, f"DROP TABLE IF EXISTS {WORK_USERS}")
    run(conn, f"CREATE TEMPORARY TABLE {WORK_USERS} (user_id text, cause text, since date) ON COMMIT DROP")
    everyone = conn.scalar(
        sa.text(
            "WITH taken AS (DELETE FROM dirty_users WHERE stage = :stage RETURNING user_id, cause, since), named AS"
            " (INSERT INTO work_users SELECT user_id, min(cause), CASE WHEN count(*) = count(since) THEN min(since) END"
            " FROM taken WHERE user_id IS NOT NULL GROUP BY user_id)"
            " SELECT bool_or(user_id IS NULL) FROM taken"
        ),
        {"stage": stage},
    )
    run(conn, f"ANALYZE {WORK_USERS}")
    return EVERYONE if everyone else Work(WORK_USERS)


def count(conn: Connection, work: Work) -> int:
    """Return the number of users to work out."""
    found: int = conn.execute(sa.text(f"SELECT count(*) FROM {work.table or 'users'}")).scalar_one()
    return found


def hand_on(conn: Connection, stage: Stage, work: Work) -> None:
    """Queue the users of `work` for the next stage, each with their cause; needs `take_users` before.

    Of everybody, those of whom something new is known are named too, but to rules, which ask for no cause.
    """
    if work == EVERYONE:
        add_everyone(conn, stage)
    if work != EVERYONE or stage != "rules":
        run(conn, f"INSERT INTO dirty_users (stage, user_id, cause) SELECT '{stage}', user_id, cause FROM {WORK_USERS}")


def hand_on_days(conn: Connection, stage: Stage) -> None:
    """Queue the users of `WORK_DAYS` for the next stage, each with the first of their days."""
    users = f"SELECT '{stage}', user_id, 'events', min(day) FROM {WORK_DAYS} GROUP BY user_id"
    run(conn, f"INSERT INTO dirty_users (stage, user_id, cause, since) {users}")


def add_everyone(conn: Connection, stage: Stage) -> None:
    """Queue everybody."""
    run(conn, f"INSERT INTO dirty_users (stage, user_id, cause) VALUES ('{stage}', NULL, 'time')")


def causes(conn: Connection, stage: Stage, as_of: date, *, otherwise: str) -> Causes:
    """Return why what a stage changes has changed: the cause of whom something new is known, time if the day moved.

    `otherwise`: what else makes a stage work everybody out.
    """
    return Causes(WORK_USERS, otherwise if stands_for(conn, stage) == as_of else "time")


def work_users() -> ibis.Table:
    """Return the relation of `WORK_USERS`: whom `take_users` took, and the first of their days that changed, if so."""
    return scratch(WORK_USERS, {"user_id": "string", "cause": "string", "since": "date"})


def work_days() -> ibis.Table:
    """Return the relation of `WORK_DAYS`."""
    return scratch(WORK_DAYS, {"user_id": "string", "day": "date"})


def stands_for(conn: Connection, stage: Stage) -> date | None:
    """Return the day for which a stage's current table stands; None before its first run."""
    found: date | None = conn.scalar(sa.text("SELECT as_of FROM watermarks WHERE stage = :stage"), {"stage": stage})
    return found


def is_standing(conn: Connection, stage: Stage, as_of: date) -> bool:
    """Say whether a stage's table stands for a day of which it has been told everything: nobody waits for the stage."""
    waits: bool = conn.execute(
        sa.text("SELECT EXISTS (SELECT FROM dirty_users WHERE stage = :stage)"), {"stage": stage}
    ).scalar_one()
    return not waits and stands_for(conn, stage) == as_of


def set_stands_for(conn: Connection, stage: Stage, as_of: date, work: Work) -> None:
    """Record the day for which a stage's current table stands from now on, and whether it looked at everybody."""
    conn.execute(
        sa.text(
            "INSERT INTO watermarks (stage, as_of, everyone_at)"
            " VALUES (:stage, :as_of, CASE WHEN :everyone THEN now() END)"
            " ON CONFLICT (stage) DO UPDATE SET as_of = excluded.as_of,"
            " everyone_at = COALESCE(excluded.everyone_at, watermarks.everyone_at)"
        ),
        {"stage": stage, "as_of": as_of, "everyone": work == EVERYONE},
    )
