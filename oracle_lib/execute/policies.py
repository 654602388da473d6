"""What happens to waiting actions by themselves: some expire, and some are approved because their rule says so."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.decide import content
from oracle_lib.execute import best_time
from oracle_lib.execute.history import record
from oracle_lib.storage.tables import action_changes, actions, rules

POLICY = "policy"
_AT_ONCE = 1000


def expire(conn: Connection, now: datetime) -> int:
    """Expire what waited too long, pending or approved; what was tried already is left to its retries.

    What somebody is answering at this moment is passed over.
    """
    late = (
        sa.select(actions.c.id)
        .where(actions.c.status.in_(["pending", "approved"]), actions.c.expires_at <= now, actions.c.attempts == 0)
        .order_by(actions.c.id)
        .with_for_update(skip_locked=True)
    )
    moved = (
        sa.update(actions)
        .where(actions.c.id.in_(late))
        .values(status="expired", updated_at=now)
        .returning(actions.c.id, sa.literal_column("old.status"))
    )
    rows = conn.execute(moved).all()
    for old in ("pending", "approved"):
        ids = [action_id for action_id, was in rows if was == old]
        record(conn, ids, "expired", actor="oracle", old=old, new="expired", at=now)
    return len(rows)


def approve_by_policy(conn: Connection, now: datetime) -> int:
    """Approve what rules with approval `auto` propose: their own text, unedited, never one an AI wrote.

    What somebody took back is theirs to answer.
    """
    rows = conn.execute(_left_to_rules()).all()
    if not rows:
        return 0
    sealed = [
        content.payload(
            user_id=row.user_id,
            action_type=row.action_type,
            subject=row.subject,
            content=row.content,
            preheader=row.preheader,
            locale=row.locale,
            address=row.address,
        )
        for row in rows
    ]
    frozen = (
        sa.func.unnest(
            sa.bindparam("ids", [row.id for row in rows], type_=pg.ARRAY(sa.Uuid)),
            sa.bindparam("payloads", sealed, type_=pg.ARRAY(pg.BYTEA)),
            sa.bindparam("hashes", [content.content_hash(one) for one in sealed], type_=pg.ARRAY(sa.Text)),
        )
        .table_valued(
            sa.column("id", sa.Uuid), sa.column("payload", pg.BYTEA), sa.column("hash", sa.Text), name="frozen"
        )
        .render_derived()
    )
    moved = (
        sa.update(actions)
        .where(actions.c.id == frozen.c.id, actions.c.content_hash == frozen.c.hash, actions.c.status == "pending")
        .values(
            status="approved",
            approved_by=POLICY,
            approved_at=now,
            approved_hash=actions.c.content_hash,
            payload=frozen.c.payload,
            scheduled_at=sa.func.coalesce(actions.c.scheduled_at, best_time.next_moment(now)),
            updated_at=now,
        )
        .returning(actions.c.id)
    )
    ids = list(conn.execute(moved).scalars())
    record(conn, ids, "approved", actor=POLICY, old="pending", new="approved", at=now)
    return len(ids)


def _left_to_rules() -> sa.Select:
    """Ask for some pending actions that their rules approve, and hold them."""
    taken_back = sa.exists().where(action_changes.c.action_id == actions.c.id, action_changes.c.verb == "undone")
    return (
        sa.select(
            actions.c.id,
            actions.c.user_id,
            actions.c.action_type,
            actions.c.subject,
            actions.c.content,
            actions.c.preheader,
            actions.c.locale,
            actions.c.address,
        )
        .join(rules, rules.c.id == actions.c.rule_id)
        .where(
            actions.c.status == "pending",
            actions.c.version == 1,
            rules.c.approval == "auto",
            rules.c.is_active,
            rules.c.paused_at.is_(None),
            rules.c.archived_at.is_(None),
            rules.c.version == actions.c.rule_version,
            actions.c.triggered_by != "ai_decision",
            sa.not_(taken_back),
        )
        .order_by(actions.c.id)
        .limit(_AT_ONCE)
        .with_for_update(of=actions, skip_locked=True)
    )
