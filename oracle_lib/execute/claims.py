"""Who has an action in hand: claim with a lease and a fence, renew before sending, finish only what is still mine.

Each claim raises the action's fence. Whoever lost the lease, to a crash or a long pause, finishes 0 rows: the fence has
moved on. Times are the database's, so workers' clocks do not matter. All moves are of sets; each claim in a set stands
for itself.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import TypeEngine

from oracle_lib.decide import guardrails
from oracle_lib.execute.history import record
from oracle_lib.storage.tables import actions

MAX_ATTEMPTS = 10
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0 * 60
_NOW = sa.func.now()


@dataclass(frozen=True)
class Claim:
    """One action in this executor's hand.

    `attempts` counts how often it was handed to a channel before, `tried_for` is the time since that first happened,
    None: never yet; `channel` is the one it last went to.
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
    rule_id: UUID | None
    rule_version: int | None


Became = Literal["executed", "retried", "held", "failed", "skipped", "unknown"]


@dataclass(frozen=True)
class End:
    """What became of a claim. `retried` and `held` wait, at least for so long or until a moment.

    `held` goes back as if it had not been taken: only for what the channel certainly has not.
    """

    mine: Claim
    became: Became
    reason: str | None = None
    wait: datetime | timedelta | None = None
    provider_id: str | None = None
    sent_hash: str | None = None


# The status that each end leads to, and the word for it in the history.
_MOVES: Mapping[Became, tuple[str, str]] = {
    "executed": ("executed", "delivered"),
    "retried": ("approved", "retry"),
    "held": ("approved", "held"),
    "failed": ("failed", "failed"),
    "skipped": ("skipped", "skipped"),
    "unknown": ("unknown", "lost"),
}


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
            actions.c.rule_id,
            actions.c.rule_version,
            actions.c.priority,
            sa.literal_column("old.status").label("was"),
        )
    )
    rows = sorted(conn.execute(taken), key=lambda row: (-row.priority, row.id))
    for was in ("approved", "executing"):
        record(conn, [row.id for row in rows if row.was == was], "claimed", actor=owner, old=was, new="executing")
    return [Claim(*row[:15]) for row in rows]


def set_aside_lost(conn: Connection, safe_channels: list[str], *, owner: str) -> int:
    """Move to `unknown` what was abandoned and may not be tried again by itself; return how many.

    That is what went to a channel that would deliver the same key twice, and what was handed over too often.
    """
    # Passing over what somebody has locked: two that lock the same rows in their own order would wait for ever.
    chosen = (
        sa.select(actions.c.id)
        .where(
            abandoned(),
            sa.or_(
                sa.and_(actions.c.channel.is_not(None), actions.c.channel.not_in(safe_channels)),
                actions.c.attempts >= MAX_ATTEMPTS,
            ),
        )
        .with_for_update(skip_locked=True)
    )
    lost = (
        sa.update(actions)
        .where(actions.c.id.in_(chosen))
        .values(status="unknown", reason="lease_lost", lease_owner=None, lease_until=None, updated_at=_NOW)
        .returning(actions.c.id)
    )
    ids = list(conn.execute(lost).scalars())
    record(conn, ids, "lost", actor=owner, old="executing", new="unknown", reason="lease_lost")
    return len(ids)


def renew(conn: Connection, mine: Mapping[Claim, str], *, lease: timedelta) -> set[UUID]:
    """Hold claims for one more lease and note that each now goes to a channel; return which are still mine."""
    given = _given(list(mine), channel=(list(mine.values()), sa.Text()))
    changed = (
        sa.update(actions)
        .where(_still_mine(given))
        .values(
            lease_until=_NOW + lease,
            channel=given.c.channel,
            attempts=actions.c.attempts + 1,
            first_attempt_at=sa.func.coalesce(actions.c.first_attempt_at, _NOW),
        )
        .returning(actions.c.id)
    )
    return set(conn.execute(changed).scalars())


def finish(conn: Connection, ends: Sequence[End], *, owner: str) -> set[UUID]:
    """Move claims out of my hand to their ends; return which were still mine: nothing changes with the others.

    What is tried again waits for a pause that grows with the attempts.
    """
    if not ends:
        return set()
    done = set(conn.execute(_finish(ends)).scalars())
    groups: defaultdict[tuple[Became, str | None], list[UUID]] = defaultdict(list)
    for end in ends:
        if end.mine.id in done:
            groups[end.became, end.reason].append(end.mine.id)
    for (became, reason), ids in groups.items():
        status, verb = _MOVES[became]
        record(conn, ids, verb, actor=owner, old="executing", new=status, reason=reason)
    return done


def _finish(ends: Sequence[End]) -> ReturningUpdate[UUID]:
    given = _given(
        [end.mine for end in ends],
        status=([_MOVES[end.became][0] for end in ends], sa.Text()),
        reason=([end.reason for end in ends], sa.Text()),
        provider_id=([end.provider_id for end in ends], sa.Text()),
        sent_hash=([end.sent_hash for end in ends], sa.Text()),
        until=([end.wait if isinstance(end.wait, datetime) else None for end in ends], sa.DateTime(timezone=True)),
        wait=([end.wait if isinstance(end.wait, timedelta) else None for end in ends], sa.Interval()),
        backoff=([_backoff(end) for end in ends], sa.Double()),
        attempts=([end.mine.attempts if end.became == "held" else None for end in ends], sa.Integer()),
        untried=([end.became == "held" and end.mine.tried_for is None for end in ends], sa.Boolean()),
    )
    # Cut by up to a half, so that many do not come back together.
    backoff = sa.func.make_interval(0, 0, 0, 0, 0, 0, given.c.backoff * (0.5 + sa.func.random() / 2))
    pause = sa.func.greatest(backoff, given.c.wait)
    sent = given.c.status == "executed"
    return (
        sa.update(actions)
        .where(_still_mine(given))
        .values(
            status=given.c.status,
            reason=given.c.reason,
            lease_owner=None,
            lease_until=None,
            updated_at=_NOW,
            executed_at=sa.case((sent, _NOW), else_=actions.c.executed_at),
            provider_id=sa.func.coalesce(given.c.provider_id, actions.c.provider_id),
            sent_hash=sa.func.coalesce(given.c.sent_hash, actions.c.sent_hash),
            next_attempt_at=sa.func.coalesce(given.c.until, _NOW + pause, actions.c.next_attempt_at),
            attempts=sa.func.coalesce(given.c.attempts, actions.c.attempts),
            first_attempt_at=sa.case((given.c.untried, None), else_=actions.c.first_attempt_at),
            channel=sa.case((given.c.untried, None), else_=actions.c.channel),
        )
        .returning(actions.c.id)
    )


def put_off(conn: Connection, which: ColumnElement[bool], reason: str, until: ColumnElement[datetime]) -> int:
    """Let what is approved, due and meant wait until a moment, saying why; return how many. Nothing is taken for it."""
    mine = sa.select(actions.c.id).where(due(), actions.c.status == "approved", which).with_for_update(skip_locked=True)
    later = sa.update(actions).where(actions.c.id.in_(mine)).values(next_attempt_at=until, reason=reason)
    return conn.execute(later).rowcount


def _given(mine: Collection[Claim], **columns: tuple[Sequence[object], TypeEngine[Any]]) -> sa.TableValuedAlias:
    """Return a table of claims and what is said of each: one statement for any number of them, compiled once."""
    whole: dict[str, tuple[Sequence[object], TypeEngine[Any]]] = {
        "id": ([one.id for one in mine], sa.Uuid()),
        "fence": ([one.fence for one in mine], sa.BigInteger()),
        **columns,
    }
    arrays = [sa.bindparam(name, list(values), type_=pg.ARRAY(kind)) for name, (values, kind) in whole.items()]
    made = [sa.column(name, kind) for name, (_, kind) in whole.items()]
    return sa.func.unnest(*arrays).table_valued(*made, name="given").render_derived()


def _still_mine(given: sa.FromClause) -> ColumnElement[bool]:
    return sa.and_(actions.c.id == given.c.id, actions.c.fence == given.c.fence, actions.c.status == "executing")


def _backoff(end: End) -> float | None:
    """Return the seconds before another try: 2, 4, 8 .. 30 min."""
    if end.became != "retried":
        return None
    return min(_FIRST_PAUSE_SECONDS * 2**end.mine.attempts, _LONGEST_PAUSE_SECONDS)
