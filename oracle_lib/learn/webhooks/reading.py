"""What an event of Resend, SendGrid, an answer or one of our own tracked letters says, in one form.

Whatever is not understood says nothing and fails nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from oracle_lib.execute import tracked_letters
from oracle_lib.execute.tracked_letters import Trace
from oracle_lib.learn.webhooks.replies import REPLY, Reply

# Programs that open every letter or follow every link: security gateways, preview makers, scripts, and Apple's mail
# privacy, which calls itself just `Mozilla/5.0`. Gmail's and Yahoo's proxies are not among them: they fetch a picture
# when the person opens the letter.
_MACHINES = re.compile(
    r"^mozilla/5\.0$|barracuda|proofpoint|mimecast|safelinks|trendmicro|symantec|fireeye|headless|preview"
    r"|bot\b|crawl|spider|scan|python|curl/|wget/|java/|go-http|okhttp|axios|node-fetch|facebookexternalhit",
    re.IGNORECASE,
)
LONGEST = 500


class Kind(StrEnum):
    """What happened to a message. `blocked`: refused this time, the address may be good; `dropped`: never sent."""

    SENT = "sent"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    BOUNCED = "bounced"
    BLOCKED = "blocked"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    DROPPED = "dropped"
    REPLIED = "replied"


@dataclass(frozen=True)
class Said:
    """What an event says: `kind` None, nothing that we know. It names the action, the provider's id of it, or both."""

    kind: Kind | None = None
    at: datetime | None = None
    action_id: UUID | None = None
    provider_id: str | None = None
    user_agent: str | None = None
    machine: bool = False


NOTHING = Said()


def read(provider: str, raw: bytes) -> Said:
    """Return what an event of a provider says."""
    try:
        return _READERS[provider](raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NOTHING


def is_machine(user_agent: str) -> bool:
    """Say whether a program calls itself one that opens and follows what no person asked for."""
    return _MACHINES.search(user_agent) is not None


_RESEND = {
    "email.sent": Kind.SENT,
    "email.delivery_delayed": Kind.DEFERRED,
    "email.delivered": Kind.DELIVERED,
    "email.opened": Kind.OPENED,
    "email.clicked": Kind.CLICKED,
    "email.bounced": Kind.BOUNCED,
    "email.complained": Kind.COMPLAINED,
    "email.failed": Kind.DROPPED,
    "email.suppressed": Kind.DROPPED,
}
_SENDGRID = {
    "processed": Kind.SENT,
    "deferred": Kind.DEFERRED,
    "delivered": Kind.DELIVERED,
    "open": Kind.OPENED,
    "click": Kind.CLICKED,
    "bounce": Kind.BOUNCED,
    "spamreport": Kind.COMPLAINED,
    "unsubscribe": Kind.UNSUBSCRIBED,
    "group_unsubscribe": Kind.UNSUBSCRIBED,
    "dropped": Kind.DROPPED,
}


class _Tag(msgspec.Struct):
    name: str = ""
    value: str = ""


class _Bounce(msgspec.Struct):
    type: str = "Permanent"


class _Seen(msgspec.Struct, rename="camel"):
    user_agent: str = ""


class _Letter(msgspec.Struct):
    email_id: str = ""
    tags: dict[str, str] | list[_Tag] | None = None
    bounce: _Bounce | None = None
    click: _Seen | None = None
    open: _Seen | None = None


class _Resend(msgspec.Struct):
    type: str = ""
    created_at: str = ""
    data: _Letter = msgspec.field(default_factory=_Letter)


class _SendGrid(msgspec.Struct):
    event: str = ""
    timestamp: float | None = None
    action: str = ""
    type: str = ""
    sg_message_id: str = ""
    useragent: str = ""
    sg_machine_open: bool = False


def _resend(raw: bytes) -> Said:
    said = msgspec.json.decode(raw, type=_Resend)
    kind = _RESEND.get(said.type)
    letter = said.data
    if kind is Kind.BOUNCED and letter.bounce is not None and letter.bounce.type != "Permanent":
        kind = Kind.BLOCKED
    tags = letter.tags if isinstance(letter.tags, dict) else {tag.name: tag.value for tag in letter.tags or ()}
    seen = letter.click or letter.open
    return _said(
        kind, _moment(said.created_at), tags.get("action", ""), letter.email_id, seen.user_agent if seen else ""
    )


def _sendgrid(raw: bytes) -> Said:
    said = msgspec.json.decode(raw, type=_SendGrid)
    kind = _SENDGRID.get(said.event)
    if kind is Kind.BOUNCED and said.type == "blocked":
        kind = Kind.BLOCKED
    # The letter's idempotency key came along, and the id in the answer to it begins the id in its events.
    action, provider_id = said.action.rpartition("/")[2], said.sg_message_id.partition(".")[0]
    return _said(kind, _at(said.timestamp), action, provider_id, said.useragent, machine=said.sg_machine_open)


def _reply(raw: bytes) -> Said:
    said = msgspec.json.decode(raw, type=Reply)
    return Said(Kind.REPLIED, action_id=said.action, machine=said.machine)


def _own(raw: bytes) -> Said:
    said = msgspec.json.decode(raw, type=Trace)
    return _said(Kind(said.kind), None, str(said.action), "", said.user_agent)


_READERS: dict[str, Callable[[bytes], Said]] = {
    "resend": _resend,
    "sendgrid": _sendgrid,
    tracked_letters.CHANNEL: _own,
    REPLY: _reply,
}


def _said(
    kind: Kind | None, at: datetime | None, action: str, provider_id: str, user_agent: str, *, machine: bool = False
) -> Said:
    agent = _storable(user_agent)
    return Said(
        kind=kind,
        at=at,
        action_id=_uuid(action),
        provider_id=_storable(provider_id),
        user_agent=agent,
        machine=machine or (agent is not None and is_machine(agent)),
    )


def _storable(text: str) -> str | None:
    return text.replace("\x00", "")[:LONGEST].strip() or None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _at(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
