"""Pauses and counts of `/api/oracle/rules`: how a rule is doing, and holding it back without changing it."""

from uuid import UUID

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.routes.rules import Writer, actor, shown
from oracle_api.schemas.rule_life import PauseIn, RuleStatsOut
from oracle_api.schemas.work import RuleOut
from oracle_lib.decide import rule_life, rule_records, rule_statistics

router = APIRouter(prefix="/api/oracle/rules", tags=["rules"])


@router.post("/{rule_id}/pause")
def pause(conn: Conn, now: Now, caller: Writer, rule_id: UUID, why: PauseIn) -> RuleOut:
    """Hold a rule back until it is resumed."""
    rule_life.pause(conn, rule_id, why.reason, actor=actor(caller), now=now)
    return shown(rule_records.get(conn, rule_id))


@router.post("/{rule_id}/resume")
def resume(conn: Conn, now: Now, caller: Writer, rule_id: UUID) -> RuleOut:
    """Let a paused rule go on."""
    rule_life.resume(conn, rule_id, actor=actor(caller), now=now)
    return shown(rule_records.get(conn, rule_id))


@router.get("/{rule_id}/stats", dependencies=[needs("rules:read")])
def statistics(conn: Conn, rule_id: UUID) -> RuleStatsOut:
    """Return what came of a rule."""
    return RuleStatsOut.model_validate(rule_statistics.of(conn, rule_id))
