"""Versions of `/api/oracle/rules`: what was published when, what differs, and the way back."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.routes.rules import Writer, actor, shown
from oracle_api.schemas.rule_life import (
    ChangeOut,
    ChangesOut,
    ListedVersionOut,
    RollbackIn,
    VersionNumber,
    VersionOut,
    VersionsOut,
)
from oracle_api.schemas.work import RuleOut
from oracle_lib.decide import definition, rule_records, rule_versions
from oracle_lib.decide.rule_versions import DRAFT

router = APIRouter(prefix="/api/oracle/rules", tags=["rules"])


@router.get("/{rule_id}/versions", dependencies=[needs("rules:read")])
def listing(conn: Conn, rule_id: UUID) -> VersionsOut:
    """Return every version of a rule, the newest first."""
    found = rule_versions.listing(conn, rule_id)
    return VersionsOut(versions=[ListedVersionOut.model_validate(one) for one in found])


@router.get("/{rule_id}/versions/{version}", dependencies=[needs("rules:read")])
def get(conn: Conn, rule_id: UUID, version: Annotated[VersionNumber, Path()]) -> VersionOut:
    """Return what one version says."""
    found = rule_versions.get(conn, rule_id, version)
    return VersionOut.model_validate({**vars(found), "definition": definition.wire(found.definition)})


@router.get("/{rule_id}/diff", dependencies=[needs("rules:read")])
def diff(
    conn: Conn,
    rule_id: UUID,
    old: Annotated[VersionNumber, Query(alias="from")],
    new: Annotated[str, Query(alias="to", pattern=rf"^({DRAFT}|[1-9][0-9]{{0,8}})$")],
) -> ChangesOut:
    """Return what a version, or the draft, says otherwise than another version."""
    found = rule_versions.diff(conn, rule_id, old, DRAFT if new == DRAFT else int(new))
    return ChangesOut(changes=[ChangeOut.model_validate(one) for one in found])


@router.post("/{rule_id}/rollback")
def rollback(conn: Conn, now: Now, caller: Writer, rule_id: UUID, to: RollbackIn) -> RuleOut:
    """Publish what an old version said as the newest one."""
    rule_versions.rollback(conn, rule_id, to.version, seen_version=to.seen_version, actor=actor(caller), now=now)
    return shown(rule_records.get(conn, rule_id))
