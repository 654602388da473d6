"""What a user wants less of, channel by channel, as a product's own page of settings shows and changes it.

It is what the page behind the link in an e-mail does (`unsubscribe.py`), with the same effect and the same rows, said
to the API instead. A wish never undoes what is stronger: a bounce or a complaint stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Invalid, NotFound
from oracle_lib.execute import suppressing, unsubscribe
from oracle_lib.execute.unsubscribe import Recipient, Standing, Wish
from oracle_lib.observe import identities
from oracle_lib.storage.tables import users

CHANNELS = ("email", "dm", "push")
LONGEST_PAUSE = timedelta(days=366)


@dataclass(frozen=True)
class Preferences:
    """What a user wants of marketing on a channel.

    `paused_until` None: it is not paused. `stopped` is what holds, theirs or not: also after a bounce or a complaint,
    or where all channels are stopped.
    """

    unsubscribed: bool
    paused_until: datetime | None
    fewer: bool
    refused_topics: frozenset[str]
    stopped: Standing | None


@dataclass(frozen=True)
class Pause:
    """A pause that lasts until then; None: none."""

    until: datetime | None


@dataclass(frozen=True)
class Changes:
    """What is to be different on a channel; what is None stays. `paused`: a pause is to last until then, or to end."""

    unsubscribed: bool | None = None
    paused: Pause | None = None
    fewer: bool | None = None
    refused_topics: frozenset[str] | None = None


def of(conn: Connection, user_id: str, now: datetime) -> dict[str, Preferences]:
    """Return a user's preferences by channel. Raises `NotFound`."""
    return {channel: _of(conn, _recipient(conn, user_id, channel, "nobody"), now) for channel in CHANNELS}


def change(
    conn: Connection, user_id: str, changes: Mapping[str, Changes], *, actor: str, now: datetime
) -> dict[str, Preferences]:
    """Change a user's preferences on some channels, and end what waits there and may no longer be sent.

    Return all of them as they then are. Raises `NotFound`, and `Invalid` for a pause that cannot be meant.
    """
    identities.lock(conn, [])
    for channel, asked in changes.items():
        _check(asked, channel, now)
        _change(conn, _recipient(conn, user_id, channel, actor), asked, now)
    return of(conn, user_id, now)


def _change(conn: Connection, who: Recipient, asked: Changes, now: datetime) -> None:
    suppressing.hold(conn, [who.user_id])
    stands = _of(conn, who, now)
    _stop(conn, who, stands, asked, now)
    if asked.fewer is not None:
        (unsubscribe.want_fewer if asked.fewer else unsubscribe.take_back_fewer)(conn, who, now)
    if asked.refused_topics is not None:
        for topic in sorted(stands.refused_topics - asked.refused_topics):
            unsubscribe.take_back_topic(conn, who, topic, now)
        for topic in sorted(asked.refused_topics - stands.refused_topics):
            unsubscribe.refuse_topic(conn, who, topic, now)


def _stop(conn: Connection, who: Recipient, stands: Preferences, asked: Changes, now: datetime) -> None:
    """Unsubscribe, pause or neither: the stronger of what is asked for and what stays."""
    no_more = stands.unsubscribed if asked.unsubscribed is None else asked.unsubscribed
    until = stands.paused_until if asked.paused is None else asked.paused.until
    if no_more:
        unsubscribe.ask(conn, who, Wish.NO_MORE, now)
    elif stands.unsubscribed or until != stands.paused_until:
        unsubscribe.take_back_stop(conn, who, now)
        if until is not None:
            unsubscribe.ask(conn, who, Wish.PAUSE, now, until=until)


def _check(asked: Changes, channel: str, now: datetime) -> None:
    until = asked.paused.until if asked.paused else None
    if until is not None and not now < until <= now + LONGEST_PAUSE:
        raise Invalid(
            f"`pausedUntil` must lie ahead, by {LONGEST_PAUSE.days} days at most.",
            field=f"channels.{channel}.pausedUntil",
            code="out_of_range",
        )
    if until is not None and asked.unsubscribed:
        raise Invalid(
            "`unsubscribed` and `pausedUntil` cannot both be asked for.",
            field=f"channels.{channel}.pausedUntil",
            code="contradiction",
        )


def _of(conn: Connection, who: Recipient, now: datetime) -> Preferences:
    stopped = unsubscribe.standing(conn, who, now)
    wanted = unsubscribe.preferences(conn, who)
    theirs = stopped if stopped is not None and stopped.theirs else None
    return Preferences(
        unsubscribed=theirs is not None and theirs.until is None,
        paused_until=theirs.until if theirs else None,
        fewer=wanted.fewer,
        refused_topics=wanted.refused_topics,
        stopped=stopped,
    )


def _recipient(conn: Connection, user_id: str, channel: str, actor: str) -> Recipient:
    today = identities.resolve(conn, [user_id]).get(user_id, user_id)
    if conn.scalar(sa.select(users.c.id).where(users.c.id == today)) is None:
        raise NotFound(f"There is no user {user_id!r}.")
    return Recipient(None, today, channel, actor=actor)
