"""`/api/oracle/tracking-plan`: what the metadata of an event should look like, and what becomes of one that differs."""

from typing import Annotated

from fastapi import APIRouter, status

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.people import PlanEntryIn, PlanEntryOut, PlanOut
from oracle_api.schemas.words import Id
from oracle_lib.access import Caller
from oracle_lib.observe import tracking_plan

router = APIRouter(prefix="/api/oracle/tracking-plan", tags=["events"])


@router.get("", dependencies=[needs("events:read")])
def listing(conn: Conn) -> PlanOut:
    """Return the plan, by event name."""
    return PlanOut(events=[PlanEntryOut.model_validate(one) for one in tracking_plan.listing(conn)])


@router.put("/{event}")
def put(conn: Conn, now: Now, event: Id, entry: PlanEntryIn, caller: Annotated[Caller, needs("admin")]) -> PlanEntryOut:
    """Agree on an event's schema; it holds on every process within five seconds."""
    made = tracking_plan.put(conn, event, entry.json_schema, entry.mode, by=f"key {caller.id}", now=now)
    return PlanEntryOut.model_validate(made)


@router.delete("/{event}", status_code=status.HTTP_204_NO_CONTENT)
def remove(conn: Conn, now: Now, event: Id, caller: Annotated[Caller, needs("admin")]) -> None:
    """Agree on nothing for an event."""
    tracking_plan.remove(conn, event, by=f"key {caller.id}", now=now)
