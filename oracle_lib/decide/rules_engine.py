"""Rules and their versions: a published version never changes, and what is queued keeps its version.

Switching a rule on or off, or changing a word of it, publishes the next version. `firing.py` says whom a rule fires
for.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.decide import definition as definitions
from oracle_lib.decide import experiments, starters
from oracle_lib.decide.definition import Definition
from oracle_lib.errors import Conflict, NotFound
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
    made = insert(rules).values(**_columns(rule), created_at=now, updated_at=now).on_conflict_do_nothing()
    rule_id = conn.scalar(made.returning(rules.c.id))
    if rule_id is None:
        raise Conflict(f"A rule is called {rule.name!r} already; choose another name.", current={"name": rule.name})
    _keep_version(conn, rule_id, 1, rule, actor=actor, now=now)
    return get(conn, rule_id)


def publish(
    conn: Connection, rule_id: UUID, rule: Definition, *, actor: str, now: datetime, seen_version: int | None = None
) -> Rule:
    """Make `rule` the newest version. Publishing what already stands changes nothing.

    Raises `NotFound`, and `Conflict` when somebody published since `seen_version` or the name is taken.
    """
    standing = get(conn, rule_id, for_update=True)
    if seen_version is not None and seen_version != standing.version:
        raise Conflict(
            f"The rule is at version {standing.version}, not {seen_version}; look at it again.",
            current={"version": standing.version, **definitions.wire(standing.definition)},
        )
    if rule == standing.definition:
        return standing
    taken = sa.select(rules.c.id).where(rules.c.name == rule.name, rules.c.id != rule_id)
    if conn.scalar(taken) is not None:
        raise Conflict(f"A rule is called {rule.name!r} already; choose another name.", current={"name": rule.name})
    version = standing.version + 1
    conn.execute(
        sa.update(rules).where(rules.c.id == rule_id).values(**_columns(rule), version=version, updated_at=now)
    )
    _keep_version(conn, rule_id, version, rule, actor=actor, now=now)
    return get(conn, rule_id)


def get(conn: Connection, rule_id: UUID, *, for_update: bool = False) -> Rule:
    """Return a rule at its newest version; `for_update` holds it until the transaction ends. Raises `NotFound`."""
    query = _RULES.where(rules.c.id == rule_id)
    row = conn.execute(query.with_for_update(of=rules) if for_update else query).one_or_none()
    if row is None:
        raise NotFound(f"There is no rule {rule_id}.")
    return _rule(row)


def listing(conn: Connection) -> list[Rule]:
    """Return every rule at its newest version, the most urgent first."""
    return [_rule(row) for row in conn.execute(_RULES.order_by(rules.c.priority.desc(), rules.c.name))]


def active(conn: Connection, triggers: Collection[str], now: datetime) -> list[Rule]:
    """Return the rules of these triggers that are switched on and not expired, the most urgent first."""
    query = _RULES.where(
        rules.c.is_active,
        rules.c.trigger.in_(triggers),
        sa.or_(rules.c.expires_at.is_(None), rules.c.expires_at > now),
    )
    return [_rule(row) for row in conn.execute(query.order_by(rules.c.priority.desc(), rules.c.name, rules.c.id))]


def install_starters(conn: Connection, now: datetime) -> int:
    """Store those of the five starter rules whose names are not there yet; return how many were."""
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
        "goal": wire["goal"] if rule.goal else sa.null(),
        "holdout": rule.holdout,
        "variants": wire["variants"],
    }


def _keep_version(
    conn: Connection, rule_id: UUID, version: int, rule: Definition, *, actor: str, now: datetime
) -> None:
    kept = {"rule_id": rule_id, "version": version, "definition": definitions.wire(rule), "published_at": now}
    conn.execute(sa.insert(rule_versions).values(kept))
    experiments.follow_version(conn, rule_id, version, rule, now)
    conn.execute(
        sa.insert(audit_log).values(
            at=now, actor=actor, verb="rule.published", subject=f"rule:{rule_id}", detail={"version": version}
        )
    )
