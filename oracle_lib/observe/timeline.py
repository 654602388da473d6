"""Reads events back: what happened, newest first. Every read bounds `created_at`, which is what partitions go by."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.tables import events

MAX_LIMIT = 200
# One user's history is an index scan; everybody's is not, so it reaches back less far unless asked to.
OF_ONE_USER = timedelta(days=90)
OF_ALL = timedelta(days=1)


@dataclass(frozen=True)
class StoredEvent:
    """One event as it was stored; `created_at` is when it happened, UTC."""

    id: UUID
    message_id: str
    user_id: str
    event: str
    metadata: Mapping[str, object] | None
    source: str | None
    session_id: str | None
    created_at: datetime
    received_at: datetime


def listing(
    conn: Connection,
    *,
    now: datetime,
    user_id: str | None = None,
    event: str | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[StoredEvent]:
    """Return the newest events, at most `limit`, of one user or of all.

    Without `since` it looks back 90 days for one user and one day for all.
    """
    start = since if since is not None else now - (OF_ONE_USER if user_id is not None else OF_ALL)
    chosen = sa.select(*_COLUMNS).where(events.c.created_at >= start, events.c.created_at <= now)
    if user_id is not None:
        chosen = chosen.where(events.c.user_id == user_id)
    if event is not None:
        chosen = chosen.where(events.c.event == event)
    newest = chosen.order_by(events.c.created_at.desc(), events.c.id.desc()).limit(min(limit, MAX_LIMIT))
    return [StoredEvent(**row._mapping) for row in conn.execute(newest)]


_COLUMNS = tuple(events.c[name] for name in StoredEvent.__dataclass_fields__)
