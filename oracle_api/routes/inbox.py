"""`/api/oracle/users/{userId}/messages`: a user's direct messages, for the product to show."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from oracle_api.auth import needs
from oracle_api.deps import Config, Conn, Now
from oracle_api.schemas.channels import InboxAsked, InboxMessageOut, InboxOut
from oracle_api.schemas.words import Id
from oracle_lib.execute import inbox

router = APIRouter(prefix="/api/oracle/users", tags=["channels"])


@router.get("/{user_id:path}/messages", dependencies=[needs("users:read")])
def listing(conn: Conn, settings: Config, user_id: Id, asked: Annotated[InboxAsked, Query()]) -> InboxOut:
    """Return a page of the user's messages, the newest first. A user who has none, or is unknown, has an empty one."""
    page = inbox.listing(conn, user_id, limit=asked.limit, cursor=asked.cursor)
    messages = [InboxMessageOut.model_validate(one) for one in page.messages]
    return InboxOut(sender=settings.dm_sender, unread=page.unread, messages=messages, next_cursor=page.next_cursor)


@router.post("/{user_id:path}/messages/{message_id}/read", dependencies=[needs("users:write")])
def read(conn: Conn, now: Now, settings: Config, user_id: Id, message_id: UUID) -> InboxMessageOut:
    """Mark a message as read; the first reading stands."""
    return InboxMessageOut.model_validate(inbox.read(conn, user_id, message_id, settings=settings, now=now))
