"""Holding a rule back, letting it go on, and deleting it, without changing a word of it: none of this makes a version.

A paused rule proposes nothing and approves nothing by itself; what waits already keeps waiting for a person. A deleted
one leaves the list and gives up its name; its versions, its proposals and their causes stay. Each move is a row in
`audit_log`, and making it again changes nothing.
"""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import rules_engine
from oracle_lib.errors import NotFound
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import dirty_users, experiments, rules


def pause(conn: Connection, rule_id: UUID, reason: str, *, actor: str, now: datetime) -> None:
    """Hold a rule back until it is resumed; a paused one keeps its first reason. Raises `NotFound` and `Conflict`."""
    rules_engine.hold(conn, rule_id)
    held = sa.update(rules).values(paused_at=now, paused_by=actor, pause_reason=reason)
    if conn.execute(held.where(rules.c.id == rule_id, rules.c.paused_at.is_(None))).rowcount:
        rules_engine.note(conn, rule_id, "rule.paused", actor=actor, now=now, detail={"reason": reason})


def resume(conn: Connection, rule_id: UUID, *, actor: str, now: datetime) -> None:
    """Let a paused rule go on. Raises `NotFound` and `Conflict`.

    Everybody is queued for the rules: users who did something in the meantime would not be asked again by themselves.
    """
    rules_engine.hold(conn, rule_id)
    freed = sa.update(rules).values(paused_at=None, paused_by=None, pause_reason=None)
    if conn.execute(freed.where(rules.c.id == rule_id, rules.c.paused_at.is_not(None))).rowcount:
        conn.execute(sa.insert(dirty_users).values(stage="rules", user_id=None, cause="time"))
        rules_engine.note(conn, rule_id, "rule.resumed", actor=actor, now=now, detail={})


def archive(conn: Connection, rule_id: UUID, *, actor: str, now: datetime) -> None:
    """Delete a rule: nothing evaluates it or changes it any more, and others may take its name. Raises `NotFound`.

    Nobody comes into its experiment any more, which ends with it; the days of those who are in it are still counted.
    """
    lock(conn, rules.name)
    gone = sa.update(rules).values(archived_at=now).where(rules.c.id == rule_id, rules.c.archived_at.is_(None))
    if conn.execute(gone).rowcount:
        running = sa.and_(experiments.c.rule_id == rule_id, experiments.c.ended_at.is_(None))
        conn.execute(sa.update(experiments).where(running).values(ended_at=now))
        rules_engine.note(conn, rule_id, "rule.deleted", actor=actor, now=now, detail={})
    elif conn.scalar(sa.select(rules.c.id).where(rules.c.id == rule_id)) is None:
        raise NotFound(f"There is no rule {rule_id}.")
