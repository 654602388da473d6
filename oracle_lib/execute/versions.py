"""Every version of an action's words, from the first that was proposed to what stands now, and who wrote which."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import distinct_on

from oracle_lib.execute import records
from oracle_lib.storage.tables import action_changes, action_versions

_WRITING = ("created", "proposed", "edited")


@dataclass(frozen=True)
class Version:
    """The words of one version; `written_by` is `oracle` for a rule's own."""

    version: int
    subject: str | None
    content: str
    preheader: str | None
    content_hash: str
    written_by: str
    written_at: datetime


def of(conn: Connection, action_id: UUID) -> list[Version]:
    """Return the versions of an action's words, the newest first. Raises `NotFound`."""
    stands = records.get(conn, action_id)
    c = action_versions.c
    replaced = sa.select(c.version, c.subject, c.content, c.preheader, c.content_hash).where(c.action_id == action_id)
    words = [(stands.version, stands.subject, stands.content, stands.preheader, stands.content_hash)]
    words += [tuple(row) for row in conn.execute(replaced.order_by(c.version.desc()))]
    wrote = (
        sa.select(action_changes.c.version, action_changes.c.actor, action_changes.c.at)
        .ext(distinct_on(action_changes.c.version))
        .where(action_changes.c.action_id == action_id, action_changes.c.verb.in_(_WRITING))
        .order_by(action_changes.c.version, action_changes.c.id)
    )
    by = {row.version: (row.actor, row.at) for row in conn.execute(wrote)}
    return [Version(*said, *by[said[0]]) for said in words]
