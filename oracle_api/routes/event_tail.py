"""`/api/oracle/events/tail`: events as they come in, each with what became of it, as server-sent events.

The first is `open`: whatever is sent after it is shown. Between two looks a tail holds neither a connection to the
database nor a thread. It ends after an hour; a client that is gone is noticed, and its lease ends by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now, Sender
from oracle_api.remembered import SERVES
from oracle_api.schemas.words import Id
from oracle_lib import clock
from oracle_lib.observe import tail
from oracle_lib.observe.tail import Shown, Tail
from oracle_lib.storage.engine import Store

LOOK_SECONDS = 0.5
BEAT_SECONDS = 15.0
END_SECONDS = 3_600.0
MEDIA_TYPE = "text/event-stream"
_ANSWERS: dict[int | str, dict[str, object]] = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}}
router = APIRouter(prefix="/api/oracle/events", tags=["events"])


@router.get("/tail", dependencies=[needs("events:read")], response_class=StreamingResponse, responses=_ANSWERS)
def watch(
    *,
    conn: Conn,
    now: Now,
    store: Sender,
    source: Annotated[Id | None, Query()] = None,
    key_id: Annotated[Id | None, Query(alias="keyId")] = None,
) -> StreamingResponse:
    """Show events of a source, of a key, or all of them, from now on."""
    opened = tail.open_tail(conn, now, source=source, key_id=key_id)
    return StreamingResponse(_stream(store, opened), media_type=MEDIA_TYPE)


async def _stream(store: Store, opened: Tail) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    until = loop.time() + END_SECONDS
    try:
        yield format_sse_event(comment="opening: every process has to hear of it")
        await asyncio.sleep(SERVES.total_seconds())
        yield format_sse_event(event="open", data_str="{}")
        beat = loop.time()
        while loop.time() < until:
            try:
                shown = await run_in_threadpool(_look, store, opened)
            except sa.exc.DBAPIError:
                shown = []
                yield format_sse_event(comment="the database does not answer; trying again")
            for one in shown:
                yield format_sse_event(event=one.outcome, data_str=msgspec.json.encode(one).decode())
            if shown or loop.time() - beat >= BEAT_SECONDS:
                beat = loop.time()
                yield format_sse_event(comment="still here")
            await asyncio.sleep(LOOK_SECONDS)
        yield format_sse_event(event="end", data_str="{}")
    finally:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(_close, store, opened)


def _look(store: Store, opened: Tail) -> list[Shown]:
    with store.transaction() as conn:
        return tail.take(conn, opened, clock.now())


def _close(store: Store, opened: Tail) -> None:
    with store.transaction() as conn:
        tail.close(conn, opened)
