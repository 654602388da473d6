"""`/api/oracle/actions/groups`: what waits, by its template, and other words for a whole group."""

from typing import Annotated

from fastapi import APIRouter, status

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.action_groups import GroupEditIn, GroupEditOut, GroupsOut
from oracle_lib.access import Caller
from oracle_lib.decide.definition import Words
from oracle_lib.execute import groups
from oracle_lib.execute.groups import GroupKey

router = APIRouter(prefix="/api/oracle/actions", tags=["actions"])


@router.get("/groups", dependencies=[needs("actions:read")])
def listing(conn: Conn) -> GroupsOut:
    """Return what waits, by the template that it comes from."""
    return GroupsOut.model_validate({"groups": groups.listing(conn)})


@router.post("/group-edits", status_code=status.HTTP_201_CREATED)
def edit(conn: Conn, now: Now, caller: Annotated[Caller, needs("actions:approve")], body: GroupEditIn) -> GroupEditOut:
    """Put another template in the place of a group's own, for each of its recipients."""
    key = GroupKey(**{name: getattr(body.key, name) for name in GroupKey.__dataclass_fields__})
    actor = f"key:{caller.id}"
    words = Words(body.content, body.subject, body.preheader)
    made = groups.edit(conn, key, words, actor=actor, now=now)
    return GroupEditOut.model_validate(made)
