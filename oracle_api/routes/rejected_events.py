"""`/api/oracle/rejected-events`: what was refused, why, and how to mend it. A sender sees its own."""

from typing import Annotated

from fastapi import APIRouter, Query

from oracle_api.auth import needs
from oracle_api.deps import Conn
from oracle_api.schemas.people import RejectedEventsOut
from oracle_api.schemas.words import Id, Limit
from oracle_lib.access import ADMIN, Caller
from oracle_lib.observe import rejected

router = APIRouter(prefix="/api/oracle/rejected-events", tags=["events"])


@router.get("")
def listing(
    conn: Conn,
    caller: Annotated[Caller, needs("events:write")],
    reason: Annotated[Id | None, Query()] = None,
    limit: Annotated[Limit, Query()] = 50,
) -> RejectedEventsOut:
    """Return the newest refused events of the caller's source, all of them to an admin, and counts by reason."""
    source = None if caller.may(ADMIN) else caller.source
    return RejectedEventsOut.model_validate(rejected.listing(conn, source=source, reason=reason, limit=limit))
