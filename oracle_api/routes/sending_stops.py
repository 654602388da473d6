"""`/api/oracle/sending-stops`: the kill switch, for everything or for one channel."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, status

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.work import StopIn, StopOut, StopsOut
from oracle_lib.access import Caller
from oracle_lib.execute import stops

router = APIRouter(prefix="/api/oracle/sending-stops", tags=["actions"])
Approver = Annotated[Caller, needs("actions:approve")]
Scope = Annotated[Literal["all", "email", "dm", "push", "post", "alert"], Path()]


@router.get("", dependencies=[needs("actions:read")])
def listing(conn: Conn) -> StopsOut:
    """Return what is stopped now."""
    return _standing(conn)


@router.put("/{scope}")
def stop(conn: Conn, now: Now, caller: Approver, scope: Scope, body: StopIn) -> StopsOut:
    """Stop sending at once; what is approved waits."""
    stops.stop(conn, scope, reason=body.reason, actor=f"key:{caller.id}", now=now)
    return _standing(conn)


@router.delete("/{scope}", status_code=status.HTTP_200_OK)
def resume(conn: Conn, now: Now, caller: Approver, scope: Scope) -> StopsOut:
    """Let sending go on."""
    stops.resume(conn, scope, actor=f"key:{caller.id}", now=now)
    return _standing(conn)


def _standing(conn: Conn) -> StopsOut:
    return StopsOut(stops=[StopOut.model_validate(one) for one in stops.listing(conn)])
