"""Letters that tell by themselves that they were opened and which link was followed; SMTP has nobody else to tell it.

A letter is tracked if `ORACLE_TRACKING` is on when it is sent, it goes by SMTP and it is marketing. Its HTML carries a
picture and, for each link to an allowed host, an address of our own that leads there; its text keeps the links as they
are. Both are signed names of the action and the link's target, made of action and settings alone: at every try the
letter is the same. Nobody can make one for another target, and the hosts are asked again when a link is followed.

That a letter was tracked stands in `webhook_inbox` as the delivery of a provider `smtp`, which is ourselves; so its
opens and clicks are worked in as those of any provider are. Test: `tests/api/test_tracked_letters_api.py`.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.execute.channels import Tracking, letter
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import webhook_inbox

CHANNEL = "smtp"
PATH = "/t/"
_PURPOSE = b"oracle/tracked/1:"
_MAC_BYTES, _ID_BYTES = 16, 16
# Longer addresses are cut by some mail programs, and a token is a third longer than what it names.
_LONGEST_TARGET = 1_000
_TARGET = re.compile(r"https?://([A-Za-z0-9.-]+)(?:[/?#][!-~]*)?")


class _Sent(Protocol):
    """What both an action and somebody's claim on it know."""

    @property
    def id(self) -> UUID: ...
    @property
    def action_type(self) -> str: ...
    @property
    def content(self) -> str: ...
    @property
    def message_class(self) -> str: ...


@dataclass(frozen=True)
class Named:
    """What a token names: an action, and where a link leads; None: it is the picture's."""

    action_id: UUID
    target: str | None


class Trace(msgspec.Struct, rename="camel"):
    """What is kept in `webhook_inbox` of a tracked letter: it was delivered, or a program of its reader did this."""

    kind: Literal["delivered", "opened", "clicked"]
    action: UUID
    user_agent: str = ""


def is_tracked(about: _Sent, settings: Settings) -> bool:
    """Say whether an action's letter, sent with these settings, is tracked."""
    by_smtp = about.action_type == "email" and settings.email_channel == CHANNEL
    return settings.tracking and by_smtp and about.message_class == "marketing"


def tracking(about: _Sent, key: bytes, settings: Settings) -> Tracking:
    """Return the addresses that an action's letter carries. Links to this installation itself stay as they are."""
    base = settings.public_url.rstrip("/")

    def address(target: str | None) -> str:
        return f"{base}{PATH}{token(key, Named(about.id, target))}"

    links = [one for one in letter.links(about.content) if len(one) <= _LONGEST_TARGET and leads_out(one, settings)]
    return Tracking(address(None), {one: address(one) for one in links if not one.startswith(f"{base}/")})


def leads_out(target: str, settings: Settings) -> bool:
    """Say whether an address is one of an allowed host: in ASCII, without a user's name and without a port."""
    found = _TARGET.fullmatch(target)
    if found is None:
        return False
    host = found[1].lower()
    return any(
        host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed
        for allowed in settings.tracked_host_names
    )


def token(key: bytes, named: Named) -> str:
    """Return what is named, signed, in base64url."""
    return _signed(key, named.action_id.bytes + (named.target or "").encode())


def read(key: bytes, token: str) -> Named | None:
    """Return what a token names; None unless it is, letter for letter, one that was signed with `key`."""
    try:
        named = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[_MAC_BYTES:]
    except (binascii.Error, ValueError):
        return None
    # The text is compared, not the bytes: base64 has several spellings for the same bytes.
    if not hmac.compare_digest(_signed(key, named).encode(), token.encode()) or len(named) < _ID_BYTES:
        return None
    return Named(UUID(bytes=named[:_ID_BYTES]), named[_ID_BYTES:].decode() or None)


def note_sent(conn: Connection, sent: Iterable[UUID], at: datetime) -> None:
    """Keep that the tracked letters of these actions were handed over."""
    rows = [
        {
            "provider": CHANNEL,
            "event_id": f"{action_id}/delivered",
            "raw": msgspec.json.encode(Trace("delivered", action_id)),
            "received_at": at,
            "due_at": at,
        }
        for action_id in sent
    ]
    if rows:
        conn.execute(insert(webhook_inbox).on_conflict_do_nothing(), rows)


def _signed(key: bytes, named: bytes) -> str:
    mac = hmac.digest(key, _PURPOSE + named, hashlib.sha256)[:_MAC_BYTES]
    return base64.urlsafe_b64encode(mac + named).rstrip(b"=").decode()
