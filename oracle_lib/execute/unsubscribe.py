"""Somebody wants no more marketing on a channel, for good or for 30 days, or wants it again: at once, at every try.

Saying so writes a row of `suppressions`, which the guardrails ask before every proposal and every send, ends what waits
for the user on that channel, and keeps an audit row and the message's outcome. Once it has committed, only what a
provider is being handed at that very moment still goes out. Transactional messages go on. Wanting it again takes back
what the recipient asked for, and nothing else: neither a bounce nor a complaint, nor what ended meanwhile.

Guarantee G8: `tests/guarantees/test_g8_unsubscribe.py`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.errors import NotFound
from oracle_lib.execute.history import record
from oracle_lib.observe import identities
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import actions, audit_log, outcomes, suppressions

PAUSE = timedelta(days=30)
_ACTOR = "recipient"
# Where what waits may go: nobody has seen a pending action's words yet, an approved one is taken back.
_ENDS = {"pending": "rejected", "approved": "cancelled"}


class Wish(StrEnum):
    """What the recipient asks for; the value is the reason of the suppression."""

    NO_MORE = "unsubscribed"
    PAUSE = "paused"


_WISHED = tuple(wish.value for wish in Wish)


@dataclass(frozen=True)
class Recipient:
    """Who was written to by which channel, by the action that did it. `user_id` is who they are today."""

    action_id: UUID
    user_id: str
    channel: str


@dataclass(frozen=True)
class Standing:
    """What holds for a recipient's channel: marketing stopped for good (`until` None) or until then.

    `theirs`: they asked for it on this channel, and may want it again.
    """

    reason: str
    until: datetime | None
    theirs: bool


def recipient(conn: Connection, action_id: UUID) -> Recipient:
    """Return whom an action was for; until the transaction ends, they are not made another user. Raises `NotFound`."""
    identities.lock(conn, [])
    asked = sa.select(actions.c.user_id, actions.c.action_type).where(actions.c.id == action_id)
    row = conn.execute(asked).one_or_none()
    if row is None:
        raise NotFound(f"There is no action {action_id}.")
    return Recipient(action_id, identities.resolve(conn, [row.user_id]).get(row.user_id, row.user_id), row.action_type)


def standing(conn: Connection, who: Recipient, now: datetime) -> Standing | None:
    """Return why and until when the recipient gets no marketing on the channel; None: they do."""
    row = conn.execute(
        sa.select(suppressions.c.reason, suppressions.c.until, suppressions.c.channel)
        .where(
            suppressions.c.user_id == who.user_id,
            suppressions.c.channel.in_([who.channel, "all"]),
            sa.or_(suppressions.c.until.is_(None), suppressions.c.until > now),
        )
        .order_by(suppressions.c.until.desc().nulls_first())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return Standing(row.reason, row.until, row.reason in _WISHED and row.channel == who.channel)


def ask(conn: Connection, who: Recipient, wish: Wish, now: datetime) -> Standing:
    """Do what the recipient asks for and return what holds then. Nothing that stands is weakened or prolonged.

    Waits for an executor that is asking the guardrails about the same user.
    """
    lock(conn, f"user:{who.user_id}")
    stands = standing(conn, who, now)
    if stands is None or (wish is Wish.NO_MORE and stands.until is not None):
        stands = Standing(wish.value, now + PAUSE if wish is Wish.PAUSE else None, theirs=True)
        _suppress(conn, who, stands, now)
    _end_what_waits(conn, who, stands, now)
    return stands


def want_again(conn: Connection, who: Recipient, now: datetime) -> Standing | None:
    """Take back what the recipient asked for on the channel and return what holds then; None: they get marketing."""
    lock(conn, f"user:{who.user_id}")
    asked_for = sa.delete(suppressions).where(
        suppressions.c.user_id == who.user_id,
        suppressions.c.channel == who.channel,
        suppressions.c.reason.in_(_WISHED),
    )
    if conn.execute(asked_for).rowcount:
        detail = {"channel": who.channel, "action": str(who.action_id)}
        row = {"at": now, "actor": _ACTOR, "verb": "user.resubscribed", "subject": f"user:{who.user_id}"}
        conn.execute(sa.insert(audit_log).values({**row, "detail": detail}))
    return standing(conn, who, now)


def _suppress(conn: Connection, who: Recipient, stands: Standing, now: datetime) -> None:
    values = {"reason": stands.reason, "at": now, "until": stands.until}
    conn.execute(
        insert(suppressions)
        .values(user_id=who.user_id, channel=who.channel, **values)
        .on_conflict_do_update(index_elements=["user_id", "channel"], set_=values)
    )
    until = None if stands.until is None else stands.until.isoformat()
    detail = {"channel": who.channel, "action": str(who.action_id), "until": until}
    row = {"at": now, "actor": _ACTOR, "verb": f"user.{stands.reason}", "subject": f"user:{who.user_id}"}
    conn.execute(sa.insert(audit_log).values({**row, "detail": detail}))
    if stands.until is None:
        came = {"action_id": who.action_id, "kind": "unsubscribed", "at": now, "user_id": who.user_id}
        conn.execute(insert(outcomes).values(came).on_conflict_do_nothing())


def _end_what_waits(conn: Connection, who: Recipient, stands: Standing, now: datetime) -> None:
    """End the marketing actions that wait for the user on the channel and would go out while this holds.

    What went to a provider before is left to the executor, who says `unknown` of it: it may have arrived.
    """
    during = sa.true() if stands.until is None else sa.func.coalesce(actions.c.scheduled_at, now) < stands.until
    waits = sa.and_(
        actions.c.user_id == who.user_id,
        actions.c.action_type == who.channel,
        actions.c.message_class == "marketing",
        actions.c.first_attempt_at.is_(None),
        during,
    )
    for old, new in _ENDS.items():
        waiting = sa.select(actions.c.id).where(waits, actions.c.status == old)
        ended = (
            sa.update(actions)
            .where(actions.c.id.in_(waiting.order_by(actions.c.id).with_for_update()), actions.c.status == old)
            .values(status=new, reason=stands.reason, updated_at=now)
            .returning(actions.c.id)
        )
        ids = list(conn.execute(ended).scalars())
        record(conn, ids, new, actor=_ACTOR, old=old, new=new, reason=stands.reason, at=now)
