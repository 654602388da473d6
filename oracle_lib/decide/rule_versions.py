"""The versions of a rule: who published what and when, what differs between them, and the way back to an old one.

Versions never change. Going back publishes the old words as the newest version; causes keep their names across
versions, so what was proposed once is not proposed again.
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import definition, rule_records, rules_engine
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.rule_changes import Change, changes
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.errors import NotFound
from oracle_lib.storage.tables import rule_versions

DRAFT: Final = "draft"


@dataclass(frozen=True)
class Version:
    """What was published, when and by whom; None: before that was kept."""

    version: int
    definition: Definition
    published_at: datetime
    published_by: str | None


@dataclass(frozen=True)
class Listed:
    """A version and the fields in which it differs from the one before it; the first differs in none."""

    version: int
    published_at: datetime
    published_by: str | None
    changed: tuple[str, ...]


_VERSIONS = sa.select(
    rule_versions.c.version, rule_versions.c.definition, rule_versions.c.published_at, rule_versions.c.published_by
)


def listing(conn: Connection, rule_id: UUID) -> list[Listed]:
    """Return every version of a rule, the newest first. Raises `NotFound`."""
    rule_records.get(conn, rule_id)
    rows = conn.execute(_VERSIONS.where(rule_versions.c.rule_id == rule_id).order_by(rule_versions.c.version))
    found = [_version(row) for row in rows]
    changed = [(), *(_changed(old, new) for old, new in pairwise(found))]
    return [
        Listed(one.version, one.published_at, one.published_by, fields)
        for one, fields in reversed(list(zip(found, changed, strict=True)))
    ]


def get(conn: Connection, rule_id: UUID, version: int) -> Version:
    """Return one version of a rule. Raises `NotFound`."""
    query = _VERSIONS.where(rule_versions.c.rule_id == rule_id, rule_versions.c.version == version)
    row = conn.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no version {version} of rule {rule_id}.")
    return _version(row)


def diff(conn: Connection, rule_id: UUID, old: int, new: int | Literal["draft"]) -> list[Change]:
    """Return what `new` says otherwise than version `old`. Raises `NotFound` where either is not there.

    A draft that cannot be published is compared as it was sent: what it does not say yet counts as taken away.
    """
    before = definition.wire(get(conn, rule_id, old).definition)
    if new != DRAFT:
        return changes(before, definition.wire(get(conn, rule_id, new).definition))
    draft = rule_records.get(conn, rule_id).draft
    if draft is None:
        raise NotFound(f"There is no draft of rule {rule_id}.")
    return changes(before, draft.body if draft.problem else definition.wire(definition.read(draft.body)))


def rollback(conn: Connection, rule_id: UUID, version: int, *, seen_version: int, actor: str, now: datetime) -> Rule:
    """Publish what `version` said as the newest version; where it is what stands, nothing changes.

    Raises `NotFound`, `Invalid` where more is asked of a rule by now, and `Conflict` when somebody published since
    `seen_version` or the version's name is taken.
    """
    rules_engine.hold(conn, rule_id, seen_version=seen_version)
    old = definition.wire(get(conn, rule_id, version).definition)
    published = rules_engine.publish(conn, rule_id, definition.read(old), actor=actor, now=now)
    if published.version != seen_version:
        detail = {"to": version, "version": published.version}
        rules_engine.note(conn, rule_id, "rule.rolled_back", actor=actor, now=now, detail=detail)
    return published


def _version(row: sa.Row) -> Version:
    return Version(row.version, definition.restore(row.definition), row.published_at, row.published_by)


def _changed(old: Version, new: Version) -> tuple[str, ...]:
    before, after = definition.wire(old.definition), definition.wire(new.definition)
    return tuple(name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name))
