"""`/api/oracle/actions`: what is proposed, and the answers people give.

An answer may name what was seen (`version`, `contentHash`); it is then given to exactly that. With `status` alone it
is given to the version current at that moment, and the history says that none was shown.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, status
from sqlalchemy import Connection

from oracle_api.auth import needs
from oracle_api.deps import Config, Conn, Now
from oracle_api.schemas.words import Id, Limit
from oracle_api.schemas.work import ActionIn, ActionOut, ActionsOut, LineageOut, MoveIn
from oracle_lib.access import Caller
from oracle_lib.execute import approvals, records
from oracle_lib.execute.approvals import Draft, Seen
from oracle_lib.execute.records import Action
from oracle_lib.storage.tables import ACTION_STATUSES, ACTION_TYPES
from oracle_lib.tell import lineage

router = APIRouter(prefix="/api/oracle/actions", tags=["actions"])


@router.get("", dependencies=[needs("actions:read")])
def page(
    *,
    conn: Conn,
    status: Annotated[Literal[ACTION_STATUSES] | None, Query()] = None,  # type: ignore[valid-type]
    user_id: Annotated[Id | None, Query(alias="userId")] = None,
    action_type: Annotated[Literal[ACTION_TYPES] | None, Query(alias="actionType")] = None,  # type: ignore[valid-type]
    limit: Annotated[Limit, Query()] = 50,
    cursor: Annotated[Id | None, Query()] = None,
) -> ActionsOut:
    """Return a page of actions, newest first."""
    found = records.listing(conn, status=status, user_id=user_id, action_type=action_type, limit=limit, cursor=cursor)
    return ActionsOut.model_validate(found)


@router.post("", status_code=status.HTTP_201_CREATED)
def propose(
    conn: Conn, now: Now, settings: Config, caller: Annotated[Caller, needs("actions:write")], body: ActionIn
) -> ActionOut:
    """Propose an action; it is pending until somebody approves it."""
    draft = Draft(**{name: getattr(body, name) for name in ActionIn.model_fields})
    expiry = timedelta(hours=settings.action_expiry_hours)
    return ActionOut.model_validate(approvals.create(conn, draft, actor=_actor(caller), now=now, expiry=expiry))


@router.get("/{action_id}", dependencies=[needs("actions:read")])
def get(conn: Conn, action_id: UUID) -> ActionOut:
    """Return one action."""
    return ActionOut.model_validate(records.get(conn, action_id))


@router.get("/{action_id}/lineage", dependencies=[needs("actions:read")])
def why(conn: Conn, action_id: UUID) -> LineageOut:
    """Return what led to an action and what came of it, step by step."""
    return LineageOut.model_validate(lineage.trace(conn, action_id))


@router.patch("/{action_id}")
def move(
    conn: Conn, now: Now, caller: Annotated[Caller, needs("actions:approve")], action_id: UUID, answer: MoveIn
) -> ActionOut:
    """Approve or reject an action, take an approval back, cancel it, or say that it was done by hand."""
    return ActionOut.model_validate(_move(conn, action_id, answer, _actor(caller), now))


def _move(conn: Connection, action_id: UUID, answer: MoveIn, actor: str, now: datetime) -> Action:
    seen = Seen(answer.version, answer.content_hash)
    match answer.status:
        case "approved":
            return approvals.approve(conn, action_id, actor=actor, now=now, seen=seen)
        case "rejected":
            return approvals.reject(conn, action_id, actor=actor, now=now, seen=seen, reason=answer.reason)
        case "cancelled":
            return approvals.cancel(conn, action_id, actor=actor, now=now, seen=seen, reason=answer.reason)
        case "pending":
            return approvals.undo(conn, action_id, actor=actor, now=now, seen=seen)
        case "executed":
            note = answer.reason or "Done by hand."
            return approvals.done_by_hand(conn, action_id, actor=actor, now=now, seen=seen, note=note)


def _actor(caller: Caller) -> str:
    return f"key:{caller.id}"
