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
from oracle_lib.execute import suppressing
from oracle_lib.execute.suppressing import Suppression
from oracle_lib.observe import identities
from oracle_lib.storage.tables import actions, audit_log, outcomes, suppressions

PAUSE = timedelta(days=30)
_ACTOR = "recipient"


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
    suppressing.hold(conn, [who.user_id])
    stands = standing(conn, who, now)
    if stands is None or (wish is Wish.NO_MORE and stands.until is not None):
        stands = Standing(wish.value, now + PAUSE if wish is Wish.PAUSE else None, theirs=True)
        suppressing.suppress(conn, [_suppression(who, stands, now)], actor=_ACTOR, now=now)
        if wish is Wish.NO_MORE:
            came = {"action_id": who.action_id, "kind": "unsubscribed", "at": now, "user_id": who.user_id}
            conn.execute(insert(outcomes).values(came).on_conflict_do_nothing())
    suppressing.end_what_waits(conn, [_suppression(who, stands, now)], actor=_ACTOR, now=now)
    return stands


def want_again(conn: Connection, who: Recipient, now: datetime) -> Standing | None:
    """Take back what the recipient asked for on the channel and return what holds then; None: they get marketing."""
    suppressing.hold(conn, [who.user_id])
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


def _suppression(who: Recipient, stands: Standing, now: datetime) -> Suppression:
    return Suppression(who.user_id, who.channel, who.action_id, stands.reason, at=now, until=stands.until)
