"""The bodies by which events come in, as the document shows them; `observe/wire.py` and `segment.py` check them.

They say what holds for every event. What depends on the moment or on the kind of event (how old a time stamp may be,
what an amount may be) stands in `docs/api.md` and in the refusal.
"""

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue

from oracle_api.schemas.words import Id, Incoming
from oracle_lib.observe import catalogue
from oracle_lib.observe.wire import MAX_ID

Facts = Annotated[dict[str, JsonValue] | None, Field(description="At most 32 KB, 32 levels, 255 keys an object.")]
SegmentId = Annotated[str, Field(max_length=MAX_ID)] | int | None


class EventIn(Incoming):
    """One event in our own form."""

    user_id: Id = Field(examples=["u1"])
    event: str = Field(pattern=catalogue.NAME_PATTERN, examples=["lesson_complete"])
    metadata: Facts = Field(None, examples=[{"courseId": "c1", "lessonId": "l1"}])
    source: Id | None = Field(None, examples=["web"], description="Where it happened; `oracle` is reserved.")
    session_id: Id | None = None
    timestamp: AwareDatetime | None = Field(None, description="When it happened, with its zone. Left out: now.")
    message_id: Id | None = Field(None, description="Makes a repeat recognizable for 48 hours.")


class SegmentMessage(Incoming):
    """What all of Segment's messages may hold; others are ignored. One of `userId`, `anonymousId` is needed."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"anyOf": [{"required": ["userId"]}, {"required": ["anonymousId"]}]}
    )

    message_id: Annotated[str, Field(max_length=MAX_ID)] | None = None
    user_id: SegmentId = None
    anonymous_id: str | int | None = None
    context: dict[str, JsonValue] | None = None
    timestamp: datetime | None = None
    original_timestamp: datetime | None = None
    sent_at: datetime | None = None


class SegmentTrack(SegmentMessage):
    """An event."""

    event: str = Field(min_length=1, examples=["Lesson Completed"])
    properties: dict[str, JsonValue] | None = None


class SegmentPage(SegmentMessage):
    """A view of a page or of an app's screen."""

    name: str | None = None
    category: str | None = None
    properties: dict[str, JsonValue] | None = None


class SegmentIdentify(SegmentMessage):
    """What is known of a user."""

    traits: dict[str, JsonValue] | None = None


class SegmentGroup(SegmentMessage):
    """The group a user belongs to."""

    group_id: str | int
    traits: dict[str, JsonValue] | None = None


class SegmentAlias(SegmentMessage):
    """An id that is this user's too."""

    previous_id: str | int
