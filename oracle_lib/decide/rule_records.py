"""Rules as people see them: what is published, the draft beside it, and whether the rule is paused or deleted."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import definition, rule_drafts
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.rule_drafts import Draft
from oracle_lib.errors import NotFound
from oracle_lib.storage.tables import rule_versions, rules


@dataclass(frozen=True)
class Record:
    """A rule at its newest version. Version 0: it was never published, and all there is of it is its draft."""

    id: UUID
    version: int
    name: str
    definition: Definition | None
    published_at: datetime | None
    published_by: str | None
    draft: Draft | None
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    archived_at: datetime | None
    times_triggered: int
    last_triggered: datetime | None
    created_at: datetime
    updated_at: datetime


_others = rules.alias("others")
_NAME_IS_TAKEN = sa.exists().where(
    _others.c.id != rules.c.id, _others.c.name == rules.c.draft["name"].as_string(), _others.c.archived_at.is_(None)
)
_RECORDS = sa.select(
    rules.c.id,
    rules.c.version,
    rules.c.name,
    rule_versions.c.definition,
    rule_versions.c.published_at,
    rule_versions.c.published_by,
    rules.c.draft,
    rules.c.draft_by,
    rules.c.draft_at,
    _NAME_IS_TAKEN.label("name_is_taken"),
    rules.c.paused_at,
    rules.c.paused_by,
    rules.c.pause_reason,
    rules.c.archived_at,
    rules.c.times_triggered,
    rules.c.last_triggered,
    rules.c.created_at,
    rules.c.updated_at,
).outerjoin_from(
    rules, rule_versions, sa.and_(rule_versions.c.rule_id == rules.c.id, rule_versions.c.version == rules.c.version)
)


def get(conn: Connection, rule_id: UUID) -> Record:
    """Return one rule, a deleted one too. Raises `NotFound`."""
    row = conn.execute(_RECORDS.where(rules.c.id == rule_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no rule {rule_id}.")
    return _record(row)


def listing(conn: Connection) -> list[Record]:
    """Return every rule that was not deleted, the most urgent first."""
    query = _RECORDS.where(rules.c.archived_at.is_(None)).order_by(rules.c.priority.desc(), rules.c.name)
    return [_record(row) for row in conn.execute(query)]


def _record(row: sa.Row) -> Record:
    values = row._asdict()
    values["definition"] = definition.restore(row.definition) if row.definition is not None else None
    values["draft"] = _draft(row)
    return Record(**{name: values[name] for name in Record.__dataclass_fields__})


def _draft(row: sa.Row) -> Draft | None:
    if row.draft is None:
        return None
    problem = rule_drafts.problem(row.draft, name_is_taken=row.name_is_taken)
    return Draft(row.draft, row.draft_by, row.draft_at, problem)
