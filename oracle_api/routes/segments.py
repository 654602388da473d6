"""`/api/oracle/segments`: who stands where now."""

from typing import Annotated

from fastapi import APIRouter, Query

from oracle_api.auth import needs
from oracle_api.deps import Conn
from oracle_api.schemas.people import SegmentOut, SegmentsOut
from oracle_api.schemas.words import ChurnLevel, EngagementLevel, Id, Lifecycle, Limit
from oracle_lib.analyze import audience

router = APIRouter(prefix="/api/oracle/segments", tags=["segments"])


@router.get("", dependencies=[needs("users:read")])
def page(
    *,
    conn: Conn,
    engagement_level: Annotated[EngagementLevel | None, Query(alias="engagementLevel")] = None,
    lifecycle: Annotated[Lifecycle | None, Query()] = None,
    churn_level: Annotated[ChurnLevel | None, Query(alias="churnLevel")] = None,
    limit: Annotated[Limit, Query()] = 50,
    cursor: Annotated[Id | None, Query()] = None,
) -> SegmentsOut:
    """Return a page of segments, by user id; go on with the `nextCursor` of the answer."""
    found = audience.page(
        conn,
        engagement_level=engagement_level,
        lifecycle=lifecycle,
        churn_level=churn_level,
        after=cursor or "",
        limit=limit,
    )
    return SegmentsOut(
        segments=[SegmentOut.model_validate(one) for one in found.segments], next_cursor=found.next_after
    )


@router.get("/{user_id:path}", dependencies=[needs("users:read")])
def get(conn: Conn, user_id: Id) -> SegmentOut:
    """Return one user's segment."""
    return SegmentOut.model_validate(audience.get(conn, user_id))
