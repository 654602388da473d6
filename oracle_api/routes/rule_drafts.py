"""Drafts of `/api/oracle/rules`: saved whatever they say, answered with what is wrong, published when nothing is."""

from uuid import UUID

from fastapi import APIRouter, status
from pydantic import JsonValue

from oracle_api.deps import Conn, Now
from oracle_api.routes.rules import Writer, actor, shown
from oracle_api.schemas.rule_life import PublishIn
from oracle_api.schemas.work import RuleOut
from oracle_lib.decide import rule_drafts, rule_records

router = APIRouter(prefix="/api/oracle/rules", tags=["rules"])


@router.post("/drafts", status_code=status.HTTP_201_CREATED)
def begin(conn: Conn, now: Now, caller: Writer, body: dict[str, JsonValue]) -> RuleOut:
    """Begin a rule as a draft; it has version 0 until it is published."""
    rule_id = rule_drafts.begin(conn, body, actor=actor(caller), now=now)
    return shown(rule_records.get(conn, rule_id))


@router.put("/{rule_id}/draft")
def save(conn: Conn, now: Now, caller: Writer, rule_id: UUID, body: dict[str, JsonValue]) -> RuleOut:
    """Keep a draft beside what is published, in place of the one before."""
    rule_drafts.save(conn, rule_id, body, actor=actor(caller), now=now)
    return shown(rule_records.get(conn, rule_id))


@router.delete("/{rule_id}/draft", status_code=status.HTTP_204_NO_CONTENT)
def discard(conn: Conn, now: Now, caller: Writer, rule_id: UUID) -> None:
    """Forget a draft, and with it a rule that was never published."""
    rule_drafts.discard(conn, rule_id, actor=actor(caller), now=now)


@router.post("/{rule_id}/publish")
def publish(conn: Conn, now: Now, caller: Writer, rule_id: UUID, seen: PublishIn) -> RuleOut:
    """Make the draft the next version."""
    rule_drafts.publish(conn, rule_id, actor=actor(caller), now=now, seen_version=seen.seen_version)
    return shown(rule_records.get(conn, rule_id))
