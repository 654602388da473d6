"""`/api/oracle/execute`: send what is approved, now. What is sent is what was approved; nothing else ever is."""

import uuid
from typing import Annotated

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Config, Conn, Sender
from oracle_api.schemas.actions import ActionOut
from oracle_api.schemas.work import ExecutedOut, ExecuteIn, ExecuteReportOut
from oracle_lib.access import Caller
from oracle_lib.execute import executor

router = APIRouter(prefix="/api/oracle/execute", tags=["execute"])


@router.post("")
def execute(
    *, conn: Conn, store: Sender, settings: Config, caller: Annotated[Caller, needs("actions:approve")], body: ExecuteIn
) -> ExecutedOut:
    """Send one approved action, or without `actionId` everything that is approved and due."""
    # Sending commits by itself, before and after each provider call; the request's own transaction must not stay open
    # meanwhile.
    conn.commit()
    owner = f"key:{caller.id}/{uuid.uuid4().hex[:8]}"
    if body.action_id is None:
        report = executor.run_due(store, settings=settings, owner=owner)
        return ExecutedOut(report=ExecuteReportOut.model_validate(report), action=None)
    action = executor.run_one(store, body.action_id, settings=settings, owner=owner)
    return ExecutedOut(report=None, action=ActionOut.model_validate(action))
