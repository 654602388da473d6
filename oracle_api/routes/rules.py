"""`/api/oracle/rules`: the automation rules. A published version never changes; changing a rule publishes the next."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status
from pydantic import JsonValue

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.work import ReachIn, ReachOut, RuleOut, RulesOut
from oracle_lib.access import Caller
from oracle_lib.decide import conditions, definition, rules_engine
from oracle_lib.decide.rules_engine import Rule

router = APIRouter(prefix="/api/oracle/rules", tags=["rules"])
Writer = Annotated[Caller, needs("rules:write")]


@router.get("", dependencies=[needs("rules:read")])
def listing(conn: Conn) -> RulesOut:
    """Return every rule at its newest version, the most urgent first."""
    return RulesOut(rules=[_shown(rule) for rule in rules_engine.listing(conn)])


@router.get("/{rule_id}", dependencies=[needs("rules:read")])
def get(conn: Conn, rule_id: UUID) -> RuleOut:
    """Return one rule at its newest version."""
    return _shown(rules_engine.get(conn, rule_id))


@router.post("", status_code=status.HTTP_201_CREATED)
def create(conn: Conn, now: Now, caller: Writer, body: dict[str, JsonValue]) -> RuleOut:
    """Store a rule as its version 1."""
    return _shown(rules_engine.create(conn, definition.read(body), actor=f"key:{caller.id}", now=now))


@router.post("/reach", dependencies=[needs("rules:read")])
def reach(conn: Conn, now: Now, body: ReachIn) -> ReachOut:
    """Count the users that each part of a condition tree holds for now."""
    # Not at import: a server that only takes events does without the library that composes expressions.
    from oracle_lib.decide import reach as counting

    return ReachOut.model_validate(counting.reach(conn, conditions.parse(body.conditions), now.date()))


@router.put("/{rule_id}")
def publish(
    *,
    conn: Conn,
    now: Now,
    caller: Writer,
    rule_id: UUID,
    body: dict[str, JsonValue],
    version: Annotated[int | None, Query(ge=1)] = None,
) -> RuleOut:
    """Publish the next version of a rule; `version` names the one that was seen."""
    actor = f"key:{caller.id}"
    rule = definition.read(body)
    return _shown(rules_engine.publish(conn, rule_id, rule, actor=actor, now=now, seen_version=version))


def _shown(rule: Rule) -> RuleOut:
    return RuleOut.model_validate({**vars(rule), **definition.wire(rule.definition)})
