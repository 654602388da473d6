"""Somebody wants no more marketing on a channel, for good or for 30 days, or less of it, or all again: at every try.

Saying so writes a row that the guardrails ask for before every proposal and every send, and an audit row:

    no more, a pause      `suppressions`; what waits for the user on the channel ends
    no more of a topic    `refused_topics`; what waits of rules with that topic ends
    fewer                 `fewer_wanted`; one message a week is sent, and what would be the second is skipped

Once it has committed, only what a provider is being handed at that very moment still goes out. Transactional messages
go on. Wanting it again takes back all that the recipient asked for on the channel, and nothing else: neither a bounce
nor a complaint, nor what ended meanwhile.

Guarantee G8: `tests/guarantees/test_g8_unsubscribe.py`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.errors import NotFound
from oracle_lib.execute import suppressing
from oracle_lib.execute.suppressing import Suppression
from oracle_lib.observe import identities
from oracle_lib.storage.tables import (
    actions,
    audit_log,
    fewer_wanted,
    outcomes,
    refused_topics,
    suppressions,
    users,
)

PAUSE = timedelta(days=30)


class Wish(StrEnum):
    """What the recipient asks for; the value is the reason of the suppression."""

    NO_MORE = "unsubscribed"
    PAUSE = "paused"


_WISHED = tuple(wish.value for wish in Wish)


@dataclass(frozen=True)
class Recipient:
    """Who says something of which channel. `user_id` is who they are today, `actor` who says it for the audit log.

    `action_id` is the message behind whose link they say it and `topic` what it was about; None: they say it elsewhere.
    `locale` is that of their profile; None: unknown.
    """

    action_id: UUID | None
    user_id: str
    channel: str
    topic: str | None = None
    locale: str | None = None
    actor: str = "recipient"


@dataclass(frozen=True)
class Standing:
    """What holds for a recipient's channel: marketing stopped for good (`until` None) or until then.

    `theirs`: they asked for it on this channel, and may want it again.
    """

    reason: str
    until: datetime | None
    theirs: bool


@dataclass(frozen=True)
class Preferences:
    """What a recipient wants less of on a channel: one message a week at most, and nothing of some topics."""

    fewer: bool
    refused_topics: frozenset[str]


def recipient(conn: Connection, action_id: UUID) -> Recipient:
    """Return whom an action was for; until the transaction ends, they are not made another user. Raises `NotFound`."""
    identities.lock(conn, [])
    asked = sa.select(actions.c.user_id, actions.c.action_type, actions.c.topic).where(actions.c.id == action_id)
    row = conn.execute(asked).one_or_none()
    if row is None:
        raise NotFound(f"There is no action {action_id}.")
    user_id = identities.resolve(conn, [row.user_id]).get(row.user_id, row.user_id)
    locale = conn.scalar(sa.select(users.c.locale).where(users.c.id == user_id))
    return Recipient(action_id, user_id, row.action_type, row.topic, locale)


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


def preferences(conn: Connection, who: Recipient) -> Preferences:
    """Return what the recipient wants less of on the channel."""
    fewer = sa.select(sa.exists().where(*_theirs(fewer_wanted, who)))
    topics = sa.select(refused_topics.c.topic).where(*_theirs(refused_topics, who))
    return Preferences(bool(conn.scalar(fewer)), frozenset(conn.scalars(topics)))


def ask(conn: Connection, who: Recipient, wish: Wish, now: datetime, *, until: datetime | None = None) -> Standing:
    """Do what the recipient asks for and return what holds then. Nothing that stands is weakened or prolonged.

    A pause lasts 30 days, or `until` then. Waits for an executor that is asking the guardrails about the same user.
    """
    suppressing.hold(conn, [who.user_id])
    stands = standing(conn, who, now)
    if stands is None or (wish is Wish.NO_MORE and stands.until is not None):
        stands = Standing(wish.value, (until or now + PAUSE) if wish is Wish.PAUSE else None, theirs=True)
        suppressing.suppress(conn, [_suppression(who, stands, now)], actor=who.actor, now=now)
        if wish is Wish.NO_MORE and who.action_id is not None:
            came = {"action_id": who.action_id, "kind": "unsubscribed", "at": now, "user_id": who.user_id}
            conn.execute(insert(outcomes).values(came).on_conflict_do_nothing())
    suppressing.end_what_waits(conn, [_suppression(who, stands, now)], actor=who.actor, now=now)
    return stands


def refuse_topic(conn: Connection, who: Recipient, topic: str, now: datetime) -> None:
    """Send the recipient no more marketing about a topic on the channel, and end what waits of it."""
    suppressing.hold(conn, [who.user_id])
    if _is_new(conn, refused_topics, who, at=now, topic=topic):
        _audit(conn, who, "topic_refused", now, topic=topic)
    refused = Suppression(who.user_id, who.channel, who.action_id, "topic_refused", at=now, topic=topic)
    suppressing.end_what_waits(conn, [refused], actor=who.actor, now=now)


def want_fewer(conn: Connection, who: Recipient, now: datetime) -> None:
    """Send the recipient at most one marketing message a week on the channel; the guardrails count."""
    suppressing.hold(conn, [who.user_id])
    if _is_new(conn, fewer_wanted, who, at=now):
        _audit(conn, who, "fewer_wanted", now)


def take_back_topic(conn: Connection, who: Recipient, topic: str, now: datetime) -> None:
    """Send the recipient marketing about a topic on the channel again."""
    suppressing.hold(conn, [who.user_id])
    refused = sa.delete(refused_topics).where(*_theirs(refused_topics, who), refused_topics.c.topic == topic)
    if conn.execute(refused).rowcount:
        _audit(conn, who, "topic_wanted", now, topic=topic)


def take_back_fewer(conn: Connection, who: Recipient, now: datetime) -> None:
    """Send the recipient as many messages on the channel as others get again."""
    suppressing.hold(conn, [who.user_id])
    if conn.execute(sa.delete(fewer_wanted).where(*_theirs(fewer_wanted, who))).rowcount:
        _audit(conn, who, "usual_wanted", now)


def take_back_stop(conn: Connection, who: Recipient, now: datetime) -> None:
    """End the pause or the unsubscription of the channel that the recipient asked for, and nothing else."""
    suppressing.hold(conn, [who.user_id])
    if conn.execute(_their_stop(who)).rowcount:
        _audit(conn, who, "resubscribed", now)


def want_again(conn: Connection, who: Recipient, now: datetime) -> Standing | None:
    """Take back all that the recipient asked for on the channel; return what holds then, None: they get marketing."""
    suppressing.hold(conn, [who.user_id])
    asked_for = (
        _their_stop(who),
        sa.delete(refused_topics).where(*_theirs(refused_topics, who)),
        sa.delete(fewer_wanted).where(*_theirs(fewer_wanted, who)),
    )
    if sum(conn.execute(statement).rowcount for statement in asked_for):
        _audit(conn, who, "resubscribed", now)
    return standing(conn, who, now)


def _is_new(conn: Connection, table: sa.Table, who: Recipient, **values: object) -> bool:
    """Write a wish down; false where it stands already."""
    made = insert(table).values(user_id=who.user_id, channel=who.channel, **values)
    return conn.scalar(made.on_conflict_do_nothing().returning(table.c.user_id)) is not None


def _theirs(table: sa.Table, who: Recipient) -> tuple[ColumnElement[bool], ...]:
    return (table.c.user_id == who.user_id, table.c.channel == who.channel)


def _their_stop(who: Recipient) -> sa.Delete:
    return sa.delete(suppressions).where(*_theirs(suppressions, who), suppressions.c.reason.in_(_WISHED))


def _audit(conn: Connection, who: Recipient, what: str, now: datetime, **more: str) -> None:
    detail = {"channel": who.channel, "action": None if who.action_id is None else str(who.action_id), **more}
    row = {"at": now, "actor": who.actor, "verb": f"user.{what}", "subject": f"user:{who.user_id}", "detail": detail}
    conn.execute(sa.insert(audit_log).values(row))


def _suppression(who: Recipient, stands: Standing, now: datetime) -> Suppression:
    return Suppression(who.user_id, who.channel, who.action_id, stands.reason, at=now, until=stands.until)
