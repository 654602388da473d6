"""`/api/oracle/users/{userId}/why-not`: why a user did not get what a rule proposes."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.words import Id
from oracle_api.schemas.work import WhyNotOut

router = APIRouter(prefix="/api/oracle/users", tags=["rules"])


@router.get("/{user_id:path}/why-not", dependencies=[needs("users:read")])
def get(conn: Conn, now: Now, user_id: Id, rule: Annotated[UUID, Query()]) -> WhyNotOut:
    """Say what stands between a user and a rule's message, what decides first."""
    # Not at import: a server that only takes events does without the library that composes expressions.
    from oracle_lib.decide import why_not

    return WhyNotOut.model_validate(why_not.why_not(conn, user_id, rule, as_of=now.date(), now=now))
