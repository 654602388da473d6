"""`/api/oracle/run-requests`: what Dagster is asked to run. The request is a row; its sensor starts the run."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.words import Limit
from oracle_api.schemas.work import RunRequestIn, RunRequestOut, RunRequestsOut
from oracle_lib import clock, run_requests
from oracle_lib.access import Caller
from oracle_lib.errors import Invalid

router = APIRouter(prefix="/api/oracle/run-requests", tags=["run requests"])
_FIELDS = {"daily": {"first_day", "last_day"}, "weekly": {"week"}, "react": set[str](), "execute": set[str]()}


@router.post("", status_code=status.HTTP_202_ACCEPTED)
def ask(conn: Conn, now: Now, caller: Annotated[Caller, needs("admin")], body: RunRequestIn) -> RunRequestOut:
    """Ask for a run: days again (a backfill), a week again, or what is dirty or due now."""
    stray = sorted(body.model_fields_set - _FIELDS[body.job] - {"job"})
    if stray:
        raise Invalid(f"`{stray[0]}` says nothing for the job {body.job}.", field=stray[0], code="not_for_this_job")
    by = f"key:{caller.id}"
    match body.job:
        case "daily":
            first = body.first_day or body.last_day or clock.newest_closed_day(now)
            asked = run_requests.ask_days(conn, first, body.last_day or first, requested_by=by, now=now)
        case "weekly":
            week = body.week or clock.newest_closed_week(now)
            asked = run_requests.ask_week(conn, week, requested_by=by, now=now)
        case "react" | "execute":
            asked = run_requests.ask(conn, body.job, requested_by=by, now=now)
    return RunRequestOut.model_validate(asked)


@router.get("", dependencies=[needs("admin")])
def listing(conn: Conn, limit: Annotated[Limit, Query()] = 50) -> RunRequestsOut:
    """Return the newest requests and how their runs stand."""
    found = run_requests.listing(conn, limit)
    return RunRequestsOut(run_requests=[RunRequestOut.model_validate(one) for one in found])


@router.get("/{request_id}", dependencies=[needs("admin")])
def get(conn: Conn, request_id: UUID) -> RunRequestOut:
    """Return one request and how its run stands."""
    return RunRequestOut.model_validate(run_requests.get(conn, request_id))
