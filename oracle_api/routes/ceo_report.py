"""`/api/oracle/ceo-report`: the week in figures, as JSON or Markdown."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query, status
from fastapi.responses import PlainTextResponse, Response

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.work import ReportOut, RunRequestOut, WeekIn
from oracle_lib import clock, run_requests
from oracle_lib.access import Caller
from oracle_lib.tell import ceo_report

router = APIRouter(prefix="/api/oracle/ceo-report", tags=["CEO report"])


@router.get("", dependencies=[needs("report:read")], response_model=ReportOut)
def get(
    conn: Conn,
    now: Now,
    week: Annotated[date | None, Query()] = None,
    form: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
) -> ReportOut | Response:
    """Return the kept report of a week, by default the last whole one."""
    wanted = week or clock.newest_closed_week(now)
    run_requests.check_sunday(wanted)
    report = ceo_report.get(conn, wanted)
    if form == "markdown":
        return PlainTextResponse(report.markdown, media_type="text/markdown")
    return ReportOut(week=report.week, made_at=report.made_at, markdown=report.markdown, **_parts(report.body))


@router.post("", status_code=status.HTTP_202_ACCEPTED)
def make_again(conn: Conn, now: Now, caller: Annotated[Caller, needs("admin")], body: WeekIn) -> RunRequestOut:
    """Ask for the report of a week to be made again."""
    week = body.week or clock.newest_closed_week(now)
    return RunRequestOut.model_validate(run_requests.ask_week(conn, week, requested_by=f"key:{caller.id}", now=now))


def _parts(body: dict[str, object]) -> dict[str, object]:
    return {name: body[name] for name in ("currency", "figures", "byType", "byRule")}
