"""`/api/oracle/users/{userId}/preferences`: what a user wants less of, for the product's own page of settings."""

from typing import Annotated

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.preferences import ChannelPreferencesIn, PreferencesIn, PreferencesOut
from oracle_api.schemas.words import Id
from oracle_lib.access import Caller
from oracle_lib.execute import preferences
from oracle_lib.execute.preferences import Changes, Pause, Preferences

router = APIRouter(prefix="/api/oracle/users", tags=["users"])


@router.get("/{user_id:path}/preferences", dependencies=[needs("users:read")])
def get(conn: Conn, now: Now, user_id: Id) -> PreferencesOut:
    """Return what a user wants less of, channel by channel."""
    return _out(preferences.of(conn, user_id, now))


@router.put("/{user_id:path}/preferences")
def put(
    conn: Conn, now: Now, caller: Annotated[Caller, needs("users:write")], user_id: Id, body: PreferencesIn
) -> PreferencesOut:
    """Change what is named, and end what waits and is no longer wanted."""
    changes = {channel: _changes(asked) for channel, asked in body.channels.items()}
    return _out(preferences.change(conn, user_id, changes, actor=f"key:{caller.id}", now=now))


def _changes(asked: ChannelPreferencesIn) -> Changes:
    return Changes(
        unsubscribed=asked.unsubscribed,
        paused=Pause(asked.paused_until) if "paused_until" in asked.model_fields_set else None,
        fewer=asked.fewer,
        refused_topics=None if asked.refused_topics is None else frozenset(asked.refused_topics),
    )


def _out(found: dict[str, Preferences]) -> PreferencesOut:
    return PreferencesOut.model_validate({"channels": found})
