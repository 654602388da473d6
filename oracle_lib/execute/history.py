"""The history of moves: one row a move, written in the move's own transaction and never changed."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.storage.tables import action_changes, actions


def record(
    conn: Connection,
    action_ids: UUID | Sequence[UUID],
    verb: str,
    *,
    actor: str,
    old: str | None,
    new: str,
    version: int | None = None,
    shown_hash: str | None = None,
    reason: str | None = None,
    at: datetime | None = None,
) -> None:
    """Keep that `actor` moved the actions from `old` to `new`.

    `version` None takes each action's own, `at` None the database's time. `shown_hash` is the hash of what the actor
    was shown; None: they answered without naming it.
    """
    ids = [action_ids] if isinstance(action_ids, UUID) else list(action_ids)
    if not ids:
        return
    rows = sa.select(
        actions.c.id,
        sa.func.now() if at is None else sa.literal(at, sa.DateTime(timezone=True)),
        sa.literal(actor),
        sa.literal(verb),
        sa.literal(old, sa.Text),
        sa.literal(new),
        actions.c.version if version is None else sa.literal(version),
        sa.literal(shown_hash, sa.Text),
        sa.literal(reason, sa.Text),
    ).where(actions.c.id == sa.any_(sa.bindparam("ids", ids, type_=pg.ARRAY(sa.Uuid))))
    columns = ["action_id", "at", "actor", "verb", "old_status", "new_status", "version", "shown_hash", "reason"]
    conn.execute(sa.insert(action_changes).from_select(columns, rows))
