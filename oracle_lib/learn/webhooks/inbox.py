"""The table `webhook_inbox`: what providers told, word for word, each event once; bodies are forgotten in time."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.tables import webhook_inbox

_LONGEST_ID = 200


_KEEP = sa.text("""
    INSERT INTO webhook_inbox (provider, event_id, raw, received_at, due_at)
    SELECT :provider, event_id, raw, :now, :now
    FROM unnest(CAST(:ids AS text[]), CAST(:bodies AS bytea[])) AS told(event_id, raw)
    ON CONFLICT (provider, event_id) DO NOTHING
""")


@dataclass(frozen=True)
class Told:
    """One event of a provider as it was told, under the id that makes a repeat recognizable."""

    event_id: str
    raw: bytes


class _Named(msgspec.Struct):
    sg_event_id: str = ""


def split(body: bytes) -> list[Told]:
    """Cut SendGrid's array into events. What has no id of its own is named by its hash; what is no array is one."""
    try:
        items = [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        items = [body]
    return [Told(_id(item), item) for item in items]


def keep(conn: Connection, provider: str, events: Sequence[Told], received_at: datetime) -> int:
    """Keep each event once; return how many are new."""
    bodies = {one.event_id: one.raw for one in events}
    # In one order, so that two requests with the same events never wait for each other.
    ids = sorted(bodies)
    told = {"provider": provider, "ids": ids, "bodies": [bodies[one] for one in ids], "now": received_at}
    return conn.execute(_KEEP, told).rowcount


def forget(conn: Connection, now: datetime, days: int) -> int:
    """Delete what was said, and by which program, `days` ago and before, where it has been worked in.

    What it came to stays: a repeat is recognized for ever. Returns how many.
    """
    old = sa.and_(
        webhook_inbox.c.received_at < now - timedelta(days=days),
        webhook_inbox.c.raw.is_not(None),
        webhook_inbox.c.processed_at.is_not(None),
    )
    return conn.execute(sa.update(webhook_inbox).where(old).values(raw=None, user_agent=None)).rowcount


def _id(item: bytes) -> str:
    try:
        named = msgspec.json.decode(item, type=_Named).sg_event_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        named = ""
    return named if named.isprintable() and 0 < len(named) <= _LONGEST_ID else hashlib.sha256(item).hexdigest()
