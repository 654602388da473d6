"""What the panel or the API asked for, as runs: rows of `run_requests`, matched with the runs that carry their id.

A row is open until its run has ended. Whether a run was started is asked of Dagster, by the run's tag, never
remembered: a process that dies between starting a run and writing it down starts none twice and loses none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib import clock
from oracle_lib.errors import Invalid
from oracle_lib.storage.tables import run_requests
from oracle_pipelines.partitions import range_tags

TAG = "oracle/request"
OPEN = ("requested", "started")
_ENDED = {"SUCCESS": "succeeded", "FAILURE": "failed", "CANCELED": "failed"}


@dataclass(frozen=True)
class Asked:
    """An open request: the job it names and its parameters, in wire words."""

    id: UUID
    job: str
    parameters: Mapping[str, object]
    status: str
    run_id: str | None


@dataclass(frozen=True)
class Started:
    """The run that answers a request: the newest, when it was retried."""

    run_id: str
    status: str


@dataclass(frozen=True)
class Launch:
    """A run to start: the job, and the tags that say which request and which days or week."""

    job: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Note:
    """What to write on a request's row."""

    id: UUID
    status: str
    run_id: str | None
    detail: str | None


def decide(asked: Sequence[Asked], runs: Mapping[UUID, Started], now: datetime) -> tuple[list[Launch], list[Note]]:
    """Return the runs to start and what to write on the rows. Pure."""
    launches: list[Launch] = []
    notes: list[Note] = []
    for request in asked:
        run = runs.get(request.id)
        if run is not None:
            status = _ENDED.get(run.status, "started")
            if (status, run.run_id) != (request.status, request.run_id):
                notes.append(Note(request.id, status, run.run_id, f"Run {run.run_id} is {run.status.lower()}."))
            continue
        try:
            launches.append(Launch(request.job, _tags(request, now)))
        except Invalid as error:
            notes.append(Note(request.id, "failed", None, str(error)))
    return launches, notes


def open_requests(conn: Connection) -> list[Asked]:
    """Return every request whose run has not ended, oldest first."""
    named = ("id", "job", "parameters", "status", "run_id")
    query = sa.select(*(run_requests.c[name] for name in named)).where(run_requests.c.status.in_(OPEN))
    return [Asked(*row) for row in conn.execute(query.order_by(run_requests.c.created_at))]


def write(conn: Connection, notes: Sequence[Note], now: datetime) -> None:
    """Write the notes on their rows; a row that has ended stays as it is."""
    change = (
        sa.update(run_requests)
        .where(run_requests.c.id == sa.bindparam("request"), run_requests.c.status.in_(OPEN))
        .values(
            status=sa.bindparam("to"),
            run_id=sa.bindparam("run"),
            detail=sa.bindparam("why"),
            updated_at=sa.bindparam("at"),
        )
    )
    rows = [{"request": n.id, "to": n.status, "run": n.run_id, "why": n.detail, "at": now} for n in notes]
    if rows:
        conn.execute(change, rows)


def _tags(request: Asked, now: datetime) -> dict[str, str]:
    tags = {TAG: str(request.id)}
    match request.job:
        case "daily":
            first = _day(request, "firstDay") or clock.newest_closed_day(now)
            last = _day(request, "lastDay") or first
            if last < first or last > clock.newest_closed_day(now):
                raise Invalid(f"`firstDay` {first} to `lastDay` {last} is not a range of closed days.", field="lastDay")
            return tags | range_tags(first, last)
        case "weekly":
            week = _day(request, "week") or clock.newest_closed_week(now)
            if week != clock.week_of(week) or week > clock.newest_closed_week(now):
                raise Invalid(f"`week` {week} is not the Sunday of a week that is over.", field="week")
            return tags | {"dagster/partition": week.isoformat()}
        case "react" | "execute" | "maintenance":
            return tags
        case _:
            raise Invalid(f"There is no job `{request.job}`.", field="job")


def _day(request: Asked, name: str) -> date | None:
    value = request.parameters.get(name)
    if value is None:
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise Invalid(f"`{name}` must be a day, YYYY-MM-DD.", field=name) from error
