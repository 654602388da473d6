"""What may be asked of Dagster: a row here, which the sensor `run_requests` turns into a run and keeps up to date.

Nobody calls Dagster. A request is refused at once if no run could answer it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib import clock
from oracle_lib.errors import Invalid, NotFound
from oracle_lib.storage.tables import run_requests

Job = Literal["daily", "weekly", "react", "execute", "maintenance"]


@dataclass(frozen=True)
class RunRequest:
    """One request. `status` is requested, started, succeeded or failed; `run_id` is Dagster's."""

    id: UUID
    job: str
    parameters: Mapping[str, object]
    requested_by: str
    status: str
    run_id: str | None
    detail: str | None
    created_at: datetime
    updated_at: datetime


def ask_days(conn: Connection, first: date, last: date, *, requested_by: str, now: datetime) -> RunRequest:
    """Ask for the daily job over a range of closed days, as one run. Raises `Invalid`."""
    if last < first:
        raise Invalid("`lastDay` lies before `firstDay`.", field="lastDay", code="out_of_range")
    if last > clock.newest_closed_day(now):
        raise Invalid(f"`lastDay` {last} is not over yet in UTC.", field="lastDay", code="day_not_over")
    parameters = {"firstDay": first.isoformat(), "lastDay": last.isoformat()}
    return _ask(conn, "daily", parameters, requested_by, now)


def ask_week(conn: Connection, week: date, *, requested_by: str, now: datetime) -> RunRequest:
    """Ask for the weekly job, and with it the report, of the week that begins on the Sunday `week`."""
    check_sunday(week)
    if week > clock.newest_closed_week(now):
        raise Invalid(f"The week of {week} is not over yet in UTC.", field="week", code="week_not_over")
    return _ask(conn, "weekly", {"week": week.isoformat()}, requested_by, now)


def ask(conn: Connection, job: Literal["react", "execute"], *, requested_by: str, now: datetime) -> RunRequest:
    """Ask for a job that takes what is there: `react` analyzes who is dirty, `execute` sends what is due."""
    return _ask(conn, job, {}, requested_by, now)


def check_sunday(week: date) -> None:
    """Refuse a day that names no week."""
    if week != clock.week_of(week):
        raise Invalid(
            f"`week` {week} is no Sunday; a week is named by its Sunday, here {clock.week_of(week)}.",
            field="week",
            code="not_a_sunday",
        )


def get(conn: Connection, request_id: UUID) -> RunRequest:
    """Return one request. Raises `NotFound`."""
    row = conn.execute(sa.select(run_requests).where(run_requests.c.id == request_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no run request {request_id}.")
    return RunRequest(**row._mapping)


def listing(conn: Connection, limit: int = 50) -> list[RunRequest]:
    """Return the newest requests."""
    newest = sa.select(run_requests).order_by(run_requests.c.id.desc()).limit(limit)
    return [RunRequest(**row._mapping) for row in conn.execute(newest)]


def _ask(conn: Connection, job: Job, parameters: dict[str, str], requested_by: str, now: datetime) -> RunRequest:
    row = {"job": job, "parameters": parameters, "requested_by": requested_by, "created_at": now, "updated_at": now}
    made = conn.execute(sa.insert(run_requests).values(row).returning(run_requests)).one()
    return RunRequest(**made._mapping)
