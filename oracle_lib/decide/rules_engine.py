"""Rules and their versions: a published version never changes, and what is queued keeps its version.

Switching a rule on or off, or changing a word of it, publishes the next version. What is not published, is paused or
was deleted is never evaluated: `rule_drafts.py`, `rule_life.py`. `firing.py` says whom a rule fires for. People change
rules one after the other: whoever does holds the lock `rules`, so a name that was free stays free until it is taken.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import definition as definitions
from oracle_lib.decide import experiments, starters
from oracle_lib.decide.definition import Definition
from oracle_lib.errors import Conflict, NotFound
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import audit_log, rule_versions, rules


@dataclass(frozen=True)
class Rule:
    """A rule at its newest version, and how often it has fired."""

    id: UUID
    version: int
    definition: Definition
    published_at: datetime
    times_triggered: int
    last_triggered: datetime | None
    created_at: datetime
    updated_at: datetime


_RULES = sa.select(
    rules.c.id,
    rules.c.version,
    rule_versions.c.definition,
    rule_versions.c.published_at,
    rules.c.times_triggered,
    rules.c.last_triggered,
    rules.c.created_at,
    rules.c.updated_at,
).join(rule_versions, sa.and_(rule_versions.c.rule_id == rules.c.id, rule_versions.c.version == rules.c.version))


def create(conn: Connection, rule: Definition, *, actor: str, now: datetime) -> Rule:
    """Store a rule as its version 1. Raises `Conflict` when the name is taken."""
    lock(conn, rules.name)
    refuse_taken(conn, rule.name)
    made = sa.insert(rules).values(**_columns(rule), created_at=now, updated_at=now)
    rule_id = conn.execute(made.returning(rules.c.id)).scalar_one()
    _keep_version(conn, rule_id, 1, rule, actor=actor, now=now)
    return get(conn, rule_id)


def publish(
    conn: Connection, rule_id: UUID, rule: Definition, *, actor: str, now: datetime, seen_version: int | None = None
) -> Rule:
    """Make `rule` the newest version. Publishing what already stands changes nothing.

    Raises `NotFound`, and `Conflict` when somebody published since `seen_version`, the name is taken or the rule gone.
    """
    version = hold(conn, rule_id, seen_version=seen_version)
    if version and (standing := get(conn, rule_id)).definition == rule:
        return standing
    refuse_taken(conn, rule.name, by_others_than=rule_id)
    conn.execute(
        sa.update(rules).where(rules.c.id == rule_id).values(**_columns(rule), version=version + 1, updated_at=now)
    )
    _keep_version(conn, rule_id, version + 1, rule, actor=actor, now=now)
    return get(conn, rule_id)


def get(conn: Connection, rule_id: UUID) -> Rule:
    """Return a rule at its newest version. Raises `NotFound`, also for one that was never published."""
    row = conn.execute(_RULES.where(rules.c.id == rule_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no rule {rule_id}.")
    return _rule(row)


def hold(conn: Connection, rule_id: UUID, *, seen_version: int | None = None) -> int:
    """Keep others from changing rules until the transaction ends; return the rule's version, 0 for a mere draft.

    Raises `NotFound`, and `Conflict` when the rule was deleted or somebody published since `seen_version`.
    """
    lock(conn, rules.name)
    where = conn.execute(sa.select(rules.c.version, rules.c.archived_at).where(rules.c.id == rule_id)).one_or_none()
    if where is None:
        raise NotFound(f"There is no rule {rule_id}.")
    if where.archived_at is not None:
        raise Conflict(
            "The rule was deleted. Its history stays as it is; make a new rule, its name is free.",
            current={"version": where.version, "archivedAt": where.archived_at.isoformat()},
        )
    if seen_version is not None and seen_version != where.version:
        said = definitions.wire(get(conn, rule_id).definition) if where.version else {}
        raise Conflict(
            f"The rule is at version {where.version}, not {seen_version}; look at it again.",
            current={"version": where.version, **said},
        )
    return where.version


def refuse_taken(conn: Connection, name: str, *, by_others_than: UUID | None = None) -> None:
    """Raise `Conflict` when another rule goes by that name."""
    if is_taken(conn, name, by_others_than=by_others_than):
        raise Conflict(taken_name(name), current={"name": name})


def is_taken(conn: Connection, name: str, *, by_others_than: UUID | None = None) -> bool:
    """Say whether another rule goes by that name; deleted ones have given theirs up."""
    taken = sa.select(rules.c.id).where(rules.c.name == name, rules.c.archived_at.is_(None))
    return conn.scalar(taken.where(rules.c.id.is_distinct_from(by_others_than))) is not None


def taken_name(name: str) -> str:
    """Return the sentence for whoever wants a name that is taken."""
    return f"A rule is called {name!r} already; choose another name."


def note(
    conn: Connection, rule_id: UUID, verb: str, *, actor: str, now: datetime, detail: Mapping[str, object]
) -> None:
    """Write into the audit log who did what to a rule."""
    row = {"at": now, "actor": actor, "verb": verb, "subject": f"rule:{rule_id}", "detail": dict(detail)}
    conn.execute(sa.insert(audit_log).values(row))


def listing(conn: Connection) -> list[Rule]:
    """Return every published rule that was not deleted, at its newest version, the most urgent first."""
    query = _RULES.where(rules.c.archived_at.is_(None)).order_by(rules.c.priority.desc(), rules.c.name)
    return [_rule(row) for row in conn.execute(query)]


def active(conn: Connection, triggers: Collection[str], now: datetime) -> list[Rule]:
    """Return the rules of these triggers that are on, neither paused nor expired nor deleted, the most urgent first."""
    query = _RULES.where(
        rules.c.is_active,
        rules.c.paused_at.is_(None),
        rules.c.archived_at.is_(None),
        rules.c.trigger.in_(triggers),
        sa.or_(rules.c.expires_at.is_(None), rules.c.expires_at > now),
    )
    return [_rule(row) for row in conn.execute(query.order_by(rules.c.priority.desc(), rules.c.name, rules.c.id))]


def install_starters(conn: Connection, now: datetime) -> int:
    """Store those of the five starter rules that never were there; return how many. A deleted one stays deleted."""
    there = set(conn.execute(sa.select(rules.c.name)).scalars())
    fresh = [rule for rule in starters.rules() if rule.name not in there]
    for rule in fresh:
        create(conn, rule, actor="oracle", now=now)
    return len(fresh)


def _rule(row: sa.Row) -> Rule:
    values = row._asdict()
    return Rule(**{**values, "definition": definitions.restore(values["definition"])})


def _columns(rule: Definition) -> dict[str, object]:
    wire = definitions.wire(rule)
    return {
        "name": rule.name,
        "description": rule.description,
        "trigger": rule.trigger,
        "conditions": wire["conditions"],
        "action_type": rule.action_type,
        "action_data": wire["actionData"],
        "is_active": rule.is_active,
        "priority": rule.priority,
        "cooldown": rule.cooldown,
        "max_per_user": rule.max_per_user,
        "expires_at": rule.expires_at,
        "approval": rule.approval,
        "message_class": rule.message_class,
        "topic": rule.topic,
        "goal": wire["goal"] if rule.goal else sa.null(),
        "holdout": rule.holdout,
        "variants": wire["variants"],
    }


def _keep_version(
    conn: Connection, rule_id: UUID, version: int, rule: Definition, *, actor: str, now: datetime
) -> None:
    said = definitions.wire(rule)
    kept = {"rule_id": rule_id, "version": version, "definition": said, "published_at": now, "published_by": actor}
    conn.execute(sa.insert(rule_versions).values(kept))
    experiments.follow_version(conn, rule_id, version, rule, now)
    note(conn, rule_id, "rule.published", actor=actor, now=now, detail={"version": version})
