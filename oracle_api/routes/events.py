"""`/api/oracle/events`: what happened comes in, one by one or in batches, and is read back.

An accepted event is stored when the answer is read. A refused one is kept too, with its reason, before the refusal is
answered; only a request without a valid key, or one over the size limits, leaves nothing behind.
"""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from oracle_api import document
from oracle_api.auth import NeedsLately, needs
from oracle_api.deps import Conn, Now, edge
from oracle_api.errors import problem
from oracle_api.hot_route import HotRoute
from oracle_api.schemas.intake import EventIn
from oracle_api.schemas.people import BatchOut, EventOut, EventsOut, Tracked, WarningOut
from oracle_api.schemas.words import Id, Limit, Moment
from oracle_lib import clock
from oracle_lib.access import Caller
from oracle_lib.errors import Invalid
from oracle_lib.observe import batch, ingest, timeline
from oracle_lib.observe.batch import Door
from oracle_lib.storage.engine import Store

MAX_BATCH = 2_500
router = APIRouter(prefix="/api/oracle/events", tags=["events"])
Writer = Annotated[Caller, needs("events:write", NeedsLately)]


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    batch: list[msgspec.Raw]


async def track(request: Request, caller: Writer) -> Response:
    """Take one event in."""
    here = edge(request)
    here.rates.take(caller)
    stored = await here.group.store([await request.body()], (await here.doors()).of(caller))
    if stored.rejected:
        refused = stored.rejected[0]
        return problem(422, refused.code, refused.detail, field=refused.field)
    warnings = [WarningOut.model_validate(one) for one in stored.warnings]
    return _accepted(Tracked(accepted=stored.duplicate == 0, duplicate=stored.duplicate > 0, warnings=warnings))


async def track_batch(request: Request, caller: Writer) -> Response:
    """Take up to 2,500 events in; the good ones are stored whatever the others are."""
    here = edge(request)
    body = await request.body()
    try:
        items = _items(body)
    except Invalid as error:
        await run_in_threadpool(_refuse, here.store, body, error, (await here.doors()).of(caller))
        return problem(422, error.code, str(error), field=error.field)
    if len(items) > MAX_BATCH:
        return problem(413, "too_many", f"A batch may have {MAX_BATCH} events; this one has {len(items)}.")
    here.rates.take(caller, len(items))
    return _accepted(BatchOut.model_validate(await here.group.store(items, (await here.doors()).of(caller))))


_EVENT = document.schema(EventIn)
_EVENTS = {"type": "array", "items": _EVENT, "maxItems": MAX_BATCH}
_WRAPPED = {"type": "object", "properties": {"batch": _EVENTS}, "required": ["batch"], "additionalProperties": False}
_HOT = {"methods": ["POST"], "status_code": status.HTTP_202_ACCEPTED, "route_class_override": HotRoute}
router.add_api_route("", track, response_model=Tracked, openapi_extra=document.reads(_EVENT), **_HOT)
router.add_api_route(
    "/batch",
    track_batch,
    response_model=BatchOut,
    openapi_extra=document.reads({"anyOf": [_EVENTS, _WRAPPED]}),
    **_HOT,
)


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


def _refuse(store: Store, body: bytes, error: Invalid, door: Door) -> None:
    with store.transaction() as conn:
        ingest.refuse(conn, body, error, door=door, received_at=clock.now())


def _items(body: bytes) -> list[bytes]:
    """Return the events of a JSON array, or of `{"batch": [...]}`."""
    if not body.lstrip().startswith(b"{"):
        return batch.split(body)
    try:
        return [bytes(item) for item in msgspec.json.decode(body, type=_Wrapped).batch]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f'The body must be [...] or {{"batch": [...]}}: {error}.', code="malformed_json") from error


def _accepted(answer: Tracked | BatchOut) -> Response:
    content = answer.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return JSONResponse(content, status_code=status.HTTP_202_ACCEPTED)
