"""A user's direct messages, as the product shows them: read here, and marked as read here.

Every DM that a channel took is in it, whichever channel that was. The first reading of a message becomes the event
`dm_read`, once, from which its outcome `opened` follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.errors import NotFound
from oracle_lib.execute import own_events
from oracle_lib.execute.channels import idempotency_key
from oracle_lib.execute.claims import Claim
from oracle_lib.execute.own_events import Happened
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import messages


@dataclass(frozen=True)
class InboxMessage:
    """One direct message; `read_at` is when it was first read, None: not yet."""

    id: UUID
    action_id: UUID
    subject: str | None
    content: str
    delivered_at: datetime
    read_at: datetime | None


@dataclass(frozen=True)
class Page:
    """Some messages, the newest first, and how many of all are unread; `next_cursor` asks for the page after them."""

    messages: list[InboxMessage]
    unread: int
    next_cursor: str | None


def listing(conn: Connection, user_id: str, *, limit: int = 50, cursor: UUID | None = None) -> Page:
    """Return a user's messages, `limit` a page; `cursor` is the id of the last one seen."""
    query = sa.select(*_MESSAGE).where(_theirs(user_id)).order_by(messages.c.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(messages.c.id < cursor)
    found = [InboxMessage(*row) for row in conn.execute(query)]
    unread = sa.select(sa.func.count()).where(_theirs(user_id), messages.c.read_at.is_(None))
    more = str(found[limit - 1].id) if len(found) > limit else None
    return Page(found[:limit], conn.scalars(unread).one(), more)


def read(conn: Connection, user_id: str, message_id: UUID, *, settings: Settings, now: datetime) -> InboxMessage:
    """Mark a message as read and return it; the first reading stands. Raises `NotFound` for one that is not theirs."""
    this = sa.and_(_theirs(user_id), messages.c.id == message_id)
    first = sa.update(messages).where(this, messages.c.read_at.is_(None)).values(read_at=now)
    action_id = conn.scalar(first.returning(messages.c.action_id))
    if action_id is not None:
        own_events.add(conn, [Happened(action_id, "dm_read", now)], settings=settings, now=now)
    row = conn.execute(sa.select(*_MESSAGE).where(this)).one_or_none()
    if row is None:
        raise NotFound(f"There is no message {message_id} of user {user_id!r}.")
    return InboxMessage(*row)


def keep(conn: Connection, delivered: Sequence[Claim], environment: str) -> None:
    """Put DMs that were delivered into their users' inboxes, unless the channel that took them has done so."""
    rows = [
        {
            "action_id": sent.id,
            "user_id": sent.user_id,
            "action_type": sent.action_type,
            "idempotency_key": idempotency_key(environment, sent.id),
            "subject": sent.subject,
            "content": sent.content,
            "payload": sent.payload,
        }
        for sent in delivered
    ]
    if rows:
        conn.execute(insert(messages).on_conflict_do_nothing(), rows)


_MESSAGE = tuple(messages.c[name] for name in InboxMessage.__dataclass_fields__)


def _theirs(user_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(messages.c.user_id == user_id, messages.c.action_type == "dm")
