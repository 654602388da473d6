"""The kill switch: sending stops at all or on one channel, at once, and what is approved waits.

Every claim and every message about to be sent reads it (`decide/guardrails.py`), so nothing starts after the stop is
committed but what an executor has in its hand at that moment.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.errors import Invalid
from oracle_lib.storage.tables import ACTION_TYPES, audit_log, sending_stops

EVERYTHING = "all"
SCOPES = (EVERYTHING, *ACTION_TYPES)


@dataclass(frozen=True)
class Stop:
    """What is stopped (`all` or an action type), why, by whom and since when."""

    scope: str
    reason: str
    stopped_by: str
    at: datetime


def listing(conn: Connection) -> list[Stop]:
    """Return what is stopped now."""
    return [Stop(*row) for row in conn.execute(sa.select(sending_stops).order_by(sending_stops.c.scope))]


def stop(conn: Connection, scope: str, *, reason: str, actor: str, now: datetime) -> None:
    """Stop sending; a stop that stands keeps its first reason. Raises `Invalid` for an unknown scope or no reason."""
    if scope not in SCOPES:
        raise Invalid(f"`scope` must be one of {', '.join(SCOPES)}.", field="scope")
    if not reason.strip() or len(reason) > 500:
        raise Invalid("`reason` must be a text of 1 to 500 characters.", field="reason")
    values = {"scope": scope, "reason": reason, "stopped_by": actor, "at": now}
    made = insert(sending_stops).values(values).on_conflict_do_nothing().returning(sending_stops.c.scope)
    if conn.scalar(made) is not None:
        _audit(conn, {"at": now, "actor": actor, "verb": "sending.stopped"}, scope, {"reason": reason})


def resume(conn: Connection, scope: str, *, actor: str, now: datetime) -> None:
    """Let sending go on; nothing happens where it was not stopped."""
    gone = sa.delete(sending_stops).where(sending_stops.c.scope == scope).returning(sending_stops.c.scope)
    if conn.scalar(gone) is not None:
        _audit(conn, {"at": now, "actor": actor, "verb": "sending.resumed"}, scope, {})


def _audit(conn: Connection, move: dict[str, object], scope: str, detail: dict[str, str]) -> None:
    conn.execute(sa.insert(audit_log).values({**move, "subject": f"sending:{scope}", "detail": detail}))
