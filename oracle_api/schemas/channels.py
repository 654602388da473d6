"""Ways to reach a user: browsers that take push, the inbox of direct messages, and tests of channels."""

from datetime import UTC, datetime
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from oracle_api.schemas.words import Asked, Incoming, Limit, Outgoing, Text

_LAST_MILLISECOND = 253_402_300_799_000


class PushKeyOut(Outgoing):
    """What a browser subscribes to: `applicationServerKey`, in base64url."""

    public_key: str


class _OfABrowser(Incoming):
    """What a browser made: it may say more one day, which is passed over."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, validate_by_name=False, validate_by_alias=True)


class SubscriptionKeys(_OfABrowser):
    """The browser's public key and its authentication secret, in base64url."""

    p256dh: Text = Field(alias="p256dh", max_length=200)
    auth: Text = Field(max_length=100)


class SubscriptionIn(_OfABrowser):
    """A `PushSubscription` as the browser writes it in JSON; `expirationTime` is in milliseconds since 1970."""

    endpoint: Text = Field(max_length=10_000)
    expiration_time: float | None = Field(None, ge=0, le=_LAST_MILLISECOND)
    keys: SubscriptionKeys

    @property
    def expires_at(self) -> datetime | None:
        """When the browser says that the subscription ends, if it says."""
        return None if self.expiration_time is None else datetime.fromtimestamp(self.expiration_time / 1000, UTC)


class SubscriptionOut(Outgoing):
    """A browser that is kept."""

    id: UUID
    endpoint: str
    created_at: datetime


class EndpointAsked(Asked):
    """Which browser is meant."""

    endpoint: Text = Field(max_length=10_000)


class InboxAsked(Asked):
    """Which page of the inbox."""

    limit: Limit = 50
    cursor: UUID | None = None


class InboxMessageOut(Outgoing):
    """One direct message; `readAt` is null while it is unread."""

    id: UUID
    action_id: UUID
    subject: str | None
    content: str
    delivered_at: datetime
    read_at: datetime | None


class InboxOut(Outgoing):
    """A page of the inbox, the newest first: who the messages are from, and how many of all are unread."""

    sender: str
    unread: int
    messages: list[InboxMessageOut]
    next_cursor: str | None


class TestIn(Incoming):
    """Whom a test goes to: an e-mail address; a user's id for DM and push; nobody for posts and alerts."""

    to: Text | None = Field(None, max_length=320)


class TestOut(Outgoing):
    """What came of a test, in the provider's words."""

    channel: str
    delivered: bool
    said: str
