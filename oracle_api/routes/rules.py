"""`/api/oracle/rules`: the automation rules. A published version never changes; changing a rule publishes the next."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status
from pydantic import JsonValue

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.work import ReachIn, ReachOut, RuleOut, RulesOut
from oracle_lib.access import Caller
from oracle_lib.decide import conditions, definition, rule_life, rule_records, rules_engine
from oracle_lib.decide.rule_records import Record

router = APIRouter(prefix="/api/oracle/rules", tags=["rules"])
Writer = Annotated[Caller, needs("rules:write")]


@router.get("", dependencies=[needs("rules:read")])
def listing(conn: Conn) -> RulesOut:
    """Return every rule at its newest version, and those that are drafts only, the most urgent first."""
    return RulesOut(rules=[shown(record) for record in rule_records.listing(conn)])


@router.get("/{rule_id}", dependencies=[needs("rules:read")])
def get(conn: Conn, rule_id: UUID) -> RuleOut:
    """Return one rule at its newest version, a deleted one too."""
    return shown(rule_records.get(conn, rule_id))


@router.post("", status_code=status.HTTP_201_CREATED)
def create(conn: Conn, now: Now, caller: Writer, body: dict[str, JsonValue]) -> RuleOut:
    """Store a rule as its version 1."""
    made = rules_engine.create(conn, definition.read(body), actor=actor(caller), now=now)
    return shown(rule_records.get(conn, made.id))


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
    rule = definition.read(body)
    rules_engine.publish(conn, rule_id, rule, actor=actor(caller), now=now, seen_version=version)
    return shown(rule_records.get(conn, rule_id))


@router.delete("/{rule_id}", status_code=status.HTTP_204_NO_CONTENT)
def delete(conn: Conn, now: Now, caller: Writer, rule_id: UUID) -> None:
    """Delete a rule; its history stays."""
    rule_life.archive(conn, rule_id, actor=actor(caller), now=now)


def shown(record: Record) -> RuleOut:
    """Return a rule as it is answered."""
    said = definition.wire(record.definition) if record.definition else {"isActive": False}
    return RuleOut.model_validate({**vars(record), **said})


def actor(caller: Caller) -> str:
    """Return the name by which a caller's changes are kept."""
    return f"key:{caller.id}"
