"""Who has an action in hand: claim with a lease and a fence, renew before sending, finish only what is still mine.

Each claim raises the action's fence. Whoever lost the lease, to a crash or a long pause, finishes 0 rows: the fence has
moved on. Times are the database's, so workers' clocks do not matter.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from oracle_lib.decide import guardrails
from oracle_lib.execute.history import record
from oracle_lib.storage.tables import actions

MAX_ATTEMPTS = 10
_FIRST_PAUSE_SECONDS = 2
_LONGEST_PAUSE_SECONDS = 30 * 60
_NOW = sa.func.now()


@dataclass(frozen=True)
class Claim:
    """One action in this executor's hand.

    `tried_for` is the time since it first went to a channel, None: never yet; `channel` is the one it last went to.
    """

    id: UUID
    fence: int
    user_id: str
    action_type: str
    template: str | None
    subject: str | None
    content: str
    payload: bytes
    approved_hash: str
    attempts: int
    tried_for: timedelta | None
    channel: str | None
    message_class: str


def due() -> ColumnElement[bool]:
    """Say which may be claimed: approved for good, due and not stopped, or left in the hands of a lost lease."""
    return sa.or_(
        sa.and_(
            actions.c.status == "approved",
            sa.not_(guardrails.stopped(actions.c.action_type)),
            final(),
            sa.or_(actions.c.scheduled_at.is_(None), actions.c.scheduled_at <= _NOW),
            sa.or_(actions.c.next_attempt_at.is_(None), actions.c.next_attempt_at <= _NOW),
        ),
        abandoned(),
    )


def final() -> ColumnElement[bool]:
    """Say whose approval nobody may still take back before it is sent."""
    return sa.or_(actions.c.undo_until.is_(None), actions.c.undo_until <= _NOW)


def abandoned() -> ColumnElement[bool]:
    """Say which actions are in the hands of somebody whose lease ran out."""
    return sa.and_(actions.c.status == "executing", actions.c.lease_until < _NOW)


def claim(conn: Connection, which: ColumnElement[bool], *, owner: str, lease: timedelta, limit: int = 1) -> list[Claim]:
    """Take up to `limit` actions, the most urgent first, passing over those that somebody else is taking."""
    chosen = (
        sa.select(actions.c.id)
        .where(which)
        .order_by(actions.c.priority.desc(), actions.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = (
        sa.update(actions)
        .where(actions.c.id.in_(chosen))
        .values(
            status="executing",
            lease_owner=owner,
            lease_until=_NOW + lease,
            fence=actions.c.fence + 1,
            attempts=actions.c.attempts + 1,
            updated_at=_NOW,
        )
        .returning(
            actions.c.id,
            actions.c.fence,
            actions.c.user_id,
            actions.c.action_type,
            actions.c.template,
            actions.c.subject,
            actions.c.content,
            actions.c.payload,
            actions.c.approved_hash,
            actions.c.attempts,
            (_NOW - actions.c.first_attempt_at).label("tried_for"),
            actions.c.channel,
            actions.c.message_class,
            actions.c.priority,
            sa.literal_column("old.status").label("was"),
        )
    )
    rows = sorted(conn.execute(taken), key=lambda row: (-row.priority, row.id))
    for was in ("approved", "executing"):
        record(conn, [row.id for row in rows if row.was == was], "claimed", actor=owner, old=was, new="executing")
    return [Claim(*row[:13]) for row in rows]


def set_aside_lost(conn: Connection, safe_channels: list[str], *, owner: str) -> int:
    """Move to `unknown` what was abandoned and may not be tried again by itself; return how many.

    That is what went to a channel that would deliver the same key twice, and what was taken too often.
    """
    lost = (
        sa.update(actions)
        .where(
            abandoned(),
            sa.or_(
                sa.and_(actions.c.channel.is_not(None), actions.c.channel.not_in(safe_channels)),
                actions.c.attempts >= MAX_ATTEMPTS,
            ),
        )
        .values(status="unknown", reason="lease_lost", lease_owner=None, lease_until=None, updated_at=_NOW)
        .returning(actions.c.id)
    )
    ids = list(conn.execute(lost).scalars())
    record(conn, ids, "lost", actor=owner, old="executing", new="unknown", reason="lease_lost")
    return len(ids)


def renew(conn: Connection, mine: Claim, *, channel: str, lease: timedelta) -> bool:
    """Hold the action for one more lease and note that it now goes to `channel`; false when it is not mine any more."""
    changed = sa.update(actions).where(_mine(mine))
    done = conn.execute(
        changed.values(
            lease_until=_NOW + lease,
            channel=channel,
            first_attempt_at=sa.func.coalesce(actions.c.first_attempt_at, _NOW),
        )
    )
    return done.rowcount == 1


def finish(
    conn: Connection,
    mine: Claim,
    status: str,
    *,
    owner: str,
    reason: str | None = None,
    provider_id: str | None = None,
    sent_hash: str | None = None,
    not_before: timedelta | None = None,
) -> bool:
    """Move the action out of my hand to `status`; false, and nothing changes, when it is not mine any more.

    `approved` is tried again after a pause that grows with the attempts, and not before `not_before` from now.
    """
    sent = {"executed_at": _NOW, "provider_id": provider_id, "sent_hash": sent_hash} if status == "executed" else {}
    pause = sa.func.greatest(_pause(mine.attempts), not_before or timedelta(0))
    again = {"next_attempt_at": _NOW + pause} if status == "approved" else {}
    done = conn.execute(
        sa.update(actions)
        .where(_mine(mine))
        .values(status=status, reason=reason, lease_owner=None, lease_until=None, updated_at=_NOW, **sent, **again)
    )
    if done.rowcount == 0:
        return False
    record(conn, mine.id, _VERBS[status], actor=owner, old="executing", new=status, reason=reason)
    return True


_VERBS = {
    "executed": "delivered",
    "approved": "retry",
    "failed": "failed",
    "skipped": "skipped",
    "unknown": "lost",
}


def hold(conn: Connection, mine: Claim, reason: str, until: datetime | timedelta, *, owner: str) -> bool:
    """Put the action back until a moment, or for so long, as if it had not been taken; false when it is not mine.

    Only for what the channel certainly has not: what was tried for the first time is untried again.
    """
    untried = {"first_attempt_at": None, "channel": None} if mine.tried_for is None else {}
    done = conn.execute(
        sa.update(actions)
        .where(_mine(mine))
        .values(
            status="approved",
            reason=reason,
            lease_owner=None,
            lease_until=None,
            updated_at=_NOW,
            next_attempt_at=_NOW + until if isinstance(until, timedelta) else until,
            attempts=actions.c.attempts - 1,
            **untried,
        )
    )
    if done.rowcount == 0:
        return False
    record(conn, mine.id, "held", actor=owner, old="executing", new="approved", reason=reason)
    return True


def _mine(mine: Claim) -> ColumnElement[bool]:
    return sa.and_(actions.c.id == mine.id, actions.c.fence == mine.fence, actions.c.status == "executing")


def _pause(attempts: int) -> ColumnElement:
    """Wait 2 s, 4 s, 8 s .. 30 min, each cut by up to a half so that many do not come back together."""
    seconds = min(_FIRST_PAUSE_SECONDS * 2 ** (attempts - 1), _LONGEST_PAUSE_SECONDS)
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds * (0.5 + sa.func.random() / 2))
