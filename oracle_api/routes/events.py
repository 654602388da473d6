"""`/api/oracle/events`: what happened comes in, one by one or in batches, and is read back.

An accepted event is stored when the answer is read. A refused one is kept too, with its reason, before the refusal is
answered; only a request without a valid key, or one over the size limits, leaves nothing behind.
"""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, status
from fastapi.responses import JSONResponse, Response

from oracle_api.auth import NeedsLately, needs
from oracle_api.deps import Body, Config, Conn, Counters, Group, Now
from oracle_api.errors import problem
from oracle_api.schemas.people import BatchOut, EventOut, EventsOut, Tracked
from oracle_api.schemas.words import Id, Limit, Moment
from oracle_lib.access import Caller
from oracle_lib.errors import Invalid
from oracle_lib.observe import ingest, timeline
from oracle_lib.observe.ingest import Door
from oracle_lib.observe.wire import Limits
from oracle_lib.settings import Settings

MAX_BATCH = 2_500
router = APIRouter(prefix="/api/oracle/events", tags=["events"])
Writer = Annotated[Caller, needs("events:write")]
FastWriter = Annotated[Caller, needs("events:write", NeedsLately)]


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    batch: list[msgspec.Raw]


@router.post("", status_code=status.HTTP_202_ACCEPTED, response_model=Tracked)
async def track(group: Group, settings: Config, caller: FastWriter, rates: Counters, body: Body) -> Response:
    """Take one event in."""
    rates.take(caller)
    stored = await group.store(body, _door(caller, settings))
    if stored.rejected is not None:
        refused = stored.rejected
        return problem(422, refused.code, refused.detail, field=refused.field)
    return _accepted(Tracked(accepted=not stored.duplicate, duplicate=stored.duplicate))


@router.post("/batch", status_code=status.HTTP_202_ACCEPTED, response_model=BatchOut)
def track_batch(*, conn: Conn, now: Now, settings: Config, caller: Writer, rates: Counters, body: Body) -> Response:
    """Take up to 2,500 events in; the good ones are stored whatever the others are."""
    try:
        items = _items(body)
    except Invalid as error:
        ingest.keep_rejected(conn, [ingest.Refused(0, body, error)], caller.source, now)
        return problem(422, error.code, str(error), field=error.field)
    if len(items) > MAX_BATCH:
        return problem(413, "too_many", f"A batch may have {MAX_BATCH} events; this one has {len(items)}.")
    rates.take(caller, len(items))
    report = ingest.ingest(conn, items, door=_door(caller, settings), received_at=now)
    return _accepted(BatchOut.model_validate(report))


@router.get("", dependencies=[needs("events:read")])
def read(
    *,
    conn: Conn,
    now: Now,
    user_id: Annotated[Id | None, Query(alias="userId")] = None,
    event: Annotated[Id | None, Query()] = None,
    since: Annotated[Moment | None, Query()] = None,
    limit: Annotated[Limit, Query()] = 100,
) -> EventsOut:
    """Return the newest events."""
    found = timeline.listing(conn, now=now, user_id=user_id, event=event, since=since, limit=limit)
    return EventsOut(events=[EventOut.model_validate(one) for one in found])


def _door(caller: Caller, settings: Settings) -> Door:
    return Door(source=caller.source, limits=Limits(currency=settings.currency))


def _items(body: bytes) -> list[bytes]:
    """Return the events of a JSON array, or of `{"batch": [...]}`."""
    if not body.lstrip().startswith(b"{"):
        return ingest.split(body)
    try:
        return [bytes(item) for item in msgspec.json.decode(body, type=_Wrapped).batch]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f'The body must be [...] or {{"batch": [...]}}: {error}.', code="malformed_json") from error


def _accepted(answer: Tracked | BatchOut) -> Response:
    return JSONResponse(answer.model_dump(mode="json", by_alias=True), status_code=status.HTTP_202_ACCEPTED)
