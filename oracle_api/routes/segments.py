"""`/api/oracle/segments`: who stands where now, how many of each kind, and how that moved.

Routes stand before `/{user_id}` where an id could be taken for their name. A user called like one of them is found in
the list, by `userId`.
"""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic.alias_generators import to_snake

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.audience import (
    ChangeOut,
    ChangesAsked,
    ChangesOut,
    CountedDayOut,
    HistoryAsked,
    HistoryOut,
    SegmentCountsOut,
    SegmentFilter,
    SegmentsAsked,
)
from oracle_api.schemas.people import SegmentOut, SegmentsOut
from oracle_api.schemas.words import Id
from oracle_lib import clock
from oracle_lib.analyze import audience, segment_history

_CHARTED = timedelta(days=89)
router = APIRouter(prefix="/api/oracle/segments", tags=["segments"])


@router.get("", dependencies=[needs("users:read")])
def page(conn: Conn, asked: Annotated[SegmentsAsked, Query()]) -> SegmentsOut:
    """Return a page of the segments that match, by user id; go on with the `nextCursor` of the answer."""
    found = audience.page(conn, asked.chosen(), after=asked.cursor or "", limit=asked.limit)
    return SegmentsOut.model_validate(found)


@router.get("/counts", dependencies=[needs("users:read")])
def counts(conn: Conn, asked: Annotated[SegmentFilter, Query()]) -> SegmentCountsOut:
    """Return how many users match, by each value of each field of words."""
    return SegmentCountsOut.model_validate(audience.counts(conn, asked.chosen()))


@router.get("/history", dependencies=[needs("users:read")])
def history(conn: Conn, now: Now, asked: Annotated[HistoryAsked, Query()]) -> HistoryOut:
    """Return how many users there were by the value of a field, day by day."""
    last = asked.last or clock.newest_closed_day(now)
    first = asked.first or last - _CHARTED
    days = segment_history.by_day(conn, to_snake(asked.field), first, last)
    return HistoryOut(field=asked.field, days=[CountedDayOut.model_validate(one) for one in days])


@router.get("/{user_id:path}/changes", dependencies=[needs("users:read")])
def changes(conn: Conn, user_id: Id, asked: Annotated[ChangesAsked, Query()]) -> ChangesOut:
    """Return what changed of a user's segment, the newest first; go on with the `nextCursor` of the answer."""
    found = segment_history.changes(conn, user_id, before=asked.cursor, limit=asked.limit)
    cursor = None if found.next_before is None else str(found.next_before)
    return ChangesOut(changes=[ChangeOut.model_validate(one) for one in found.changes], next_cursor=cursor)


@router.get("/{user_id:path}", dependencies=[needs("users:read")])
def get(conn: Conn, user_id: Id) -> SegmentOut:
    """Return one user's segment."""
    return SegmentOut.model_validate(audience.get(conn, user_id))
