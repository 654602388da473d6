"""Drafts: what somebody is still writing, beside the version that is published and apart from everything that runs.

A rule has at most one draft. It is kept as it was sent, also while it could not be published: `problem` says what is
wrong with it. A rule may begin as a draft: it has version 0 and goes by the draft's name until it is published.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import definition, rules_engine
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.errors import Conflict, Invalid
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import rules

_MAX_NAME = 100
_NOTHING = {"draft": sa.null(), "draft_by": None, "draft_at": None}


@dataclass(frozen=True)
class Problem:
    """What keeps a draft from being published: the place that is wrong, and a sentence that says how to mend it."""

    field: str | None
    message: str


@dataclass(frozen=True)
class Draft:
    """A draft as it was sent; `problem` is None for one that can be published."""

    body: Mapping[str, object]
    saved_by: str
    saved_at: datetime
    problem: Problem | None


def begin(conn: Connection, body: Mapping[str, object], *, actor: str, now: datetime) -> UUID:
    """Keep a draft of a rule that is new. Raises `Invalid` without a fit name, and `Conflict` when that is taken."""
    name = _name(body)
    if name is None:
        raise Invalid(f"`name` must be a text of 1 to {_MAX_NAME} characters.", field="name", code="bad_rule")
    kept = _kept(body, actor, now)
    lock(conn, rules.name)
    rules_engine.refuse_taken(conn, name)
    made = sa.insert(rules).values(**kept, name=name, version=0, is_active=False, created_at=now, updated_at=now)
    return conn.execute(made.returning(rules.c.id)).scalar_one()


def save(conn: Connection, rule_id: UUID, body: Mapping[str, object], *, actor: str, now: datetime) -> None:
    """Keep `body` as a rule's draft, in place of the one before; the last who saves is kept.

    A rule that was never published takes the draft's name, where that is fit and free. Raises `NotFound`, `Conflict`
    for a deleted rule, and `Invalid` only for what no database can keep.
    """
    kept = _kept(body, actor, now)
    version = rules_engine.hold(conn, rule_id)
    if version == 0 and (name := _name(body)) and not rules_engine.is_taken(conn, name, by_others_than=rule_id):
        kept["name"] = name
    conn.execute(sa.update(rules).where(rules.c.id == rule_id).values(kept))


def discard(conn: Connection, rule_id: UUID, *, actor: str, now: datetime) -> None:
    """Forget a rule's draft; without one nothing changes. Of a rule that was never published nothing is left."""
    version = rules_engine.hold(conn, rule_id)
    drafted = sa.and_(rules.c.id == rule_id, rules.c.draft.is_not(None))
    forget = sa.update(rules).values(_NOTHING) if version else sa.delete(rules)
    if conn.execute(forget.where(drafted)).rowcount:
        rules_engine.note(conn, rule_id, "rule.draft_discarded", actor=actor, now=now, detail={"version": version})


def publish(conn: Connection, rule_id: UUID, *, actor: str, now: datetime, seen_version: int) -> Rule:
    """Make a rule's draft its next version, and forget the draft.

    Raises `NotFound`, `Invalid` for a draft with a problem, and `Conflict` when somebody published since
    `seen_version`, there is no draft, or the name is taken.
    """
    version = rules_engine.hold(conn, rule_id, seen_version=seen_version)
    body = conn.scalar(sa.select(rules.c.draft).where(rules.c.id == rule_id))
    if body is None:
        raise Conflict("The rule has no draft; save one first.", current={"version": version})
    published = rules_engine.publish(conn, rule_id, definition.read(body), actor=actor, now=now)
    conn.execute(sa.update(rules).where(rules.c.id == rule_id).values(_NOTHING))
    return published


def problem(body: Mapping[str, object], *, name_is_taken: bool) -> Problem | None:
    """Return what keeps a draft from being published, the first thing there is."""
    try:
        said = definition.read(body)
    except Invalid as wrong:
        return Problem(wrong.field, str(wrong))
    return Problem("name", rules_engine.taken_name(said.name)) if name_is_taken else None


def _kept(body: Mapping[str, object], actor: str, now: datetime) -> dict[str, object]:
    for name, value in body.items():
        if not all(_can_be_kept(atom) for atom in _atoms({name: value})):
            field = name if _can_be_kept(name) else None
            message = f"`{field or 'body'}` holds a NUL, half a surrogate pair or a number without end; remove it."
            raise Invalid(message, field=field, code="bad_rule")
    return {"draft": dict(body), "draft_by": actor, "draft_at": now}


def _atoms(value: object) -> Iterator[object]:
    """Yield every text and number of a JSON value, names included; what is sent may be nested as deep as it likes."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as found:
                waiting += [*found.keys(), *found.values()]
            case list() as found:
                waiting += found
            case atom:
                yield atom


def _can_be_kept(atom: object) -> bool:
    match atom:
        case str():
            return "\x00" not in atom and not any("\ud800" <= letter <= "\udfff" for letter in atom)
        case float():
            return math.isfinite(atom)
        case _:
            return True


def _name(body: Mapping[str, object]) -> str | None:
    """Return the name a draft gives its rule; None where it is not fit to be one."""
    name = body.get("name")
    return name if isinstance(name, str) and name.strip() and len(name) <= _MAX_NAME else None
