"""`/api/oracle/users/{id}`: a user's profile, consent and traits."""

from typing import Annotated

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.people import ProfileIn, ProfileOut
from oracle_api.schemas.words import Id
from oracle_lib.access import Caller
from oracle_lib.observe import profiles
from oracle_lib.observe.profiles import ProfileChange

router = APIRouter(prefix="/api/oracle/users", tags=["users"])


@router.put("/{user_id:path}")
def put(
    conn: Conn, now: Now, caller: Annotated[Caller, needs("users:write")], user_id: Id, change: ProfileIn
) -> ProfileOut:
    """Change a user's profile, making it if there is none."""
    named = {name: getattr(change, name) for name in change.model_fields_set}
    profile = profiles.put(conn, user_id, ProfileChange(**named), source=caller.source, now=now)
    return ProfileOut.model_validate(profile)


@router.get("/{user_id:path}", dependencies=[needs("users:read")])
def get(conn: Conn, user_id: Id) -> ProfileOut:
    """Return a user's profile."""
    return ProfileOut.model_validate(profiles.get(conn, user_id))
