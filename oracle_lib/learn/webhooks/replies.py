"""Who answered a letter: what inbound mail is about, whether a person wrote it, and the row that says so.

Providers post the mail that comes to `ORACLE_REPLY_ADDRESS`. It belongs to the action that its recipient names
(`execute/reply_addresses.py`), or else the one whose letter it says it answers. Of anything else nothing is kept, and
of an answer neither words nor addresses: an action has one row for people and one for programs, provider `reply`,
which `processing` works in. SendGrid sends the headers along; Resend only says that something came, so its headers
are asked for before it is known whether a person wrote (`look_up`).
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_bytes, message_from_string
from email.message import Message
from email.utils import getaddresses
from typing import Protocol
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.execute.reply_addresses import ReplyAddresses
from oracle_lib.learn.webhooks import inbox
from oracle_lib.learn.webhooks.inbox import Told
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, webhook_inbox

REPLY = "reply"
# What Resend says it received, until its headers are known; not worked in.
RECEIVED = "resend_received"
# So many letters are asked for at once, and each again until it is a day old.
_AT_ONCE = 5
PATIENCE = timedelta(days=1)
_MOST_NAMES = 50
_LONGEST_NAME = 500
_BULK = ("bulk", "junk", "list", "auto_reply")
_PROGRAMS = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-failed-recipients")


@dataclass(frozen=True)
class Inbound:
    """A letter that came in: to whom, which messages it answers, and whether a program wrote it.

    `automatic` None: not known before the letter's headers are asked for, under its `email_id`.
    """

    to: Sequence[str]
    answers: Sequence[str] = ()
    automatic: bool | None = None
    email_id: str = ""


class Reply(msgspec.Struct):
    """What is kept in `webhook_inbox`: which action was answered, and by what."""

    action: UUID
    machine: bool


class Received(msgspec.Struct):
    """What is kept of Resend's word: which action was answered, and the letter to be asked for."""

    action: UUID
    email_id: str


class Headers(Protocol):
    """Asks a provider for the headers of a letter that it received; None: it did not tell."""

    def __call__(self, email_id: str) -> Mapping[str, str] | None:
        """Return them by name in lower case."""
        ...


def keep(conn: Connection, came: Inbound, event_id: str, addresses: ReplyAddresses, now: datetime) -> int:
    """Keep that an action was answered, once; return how many rows are new. Of other mail nothing is kept."""
    action_id = _answered(conn, came, addresses)
    if action_id is None:
        return 0
    if came.automatic is None:
        told = Told(event_id, msgspec.json.encode(Received(action_id, came.email_id)))
        return inbox.keep(conn, RECEIVED, [told], now)
    return inbox.keep(conn, REPLY, [_told(action_id, came.automatic)], now)


def look_up(store: Store, headers: Headers, now: datetime) -> int:
    """Ask for the headers of some letters of which it is not known who wrote them; return how many are known now.

    The provider is asked outside of any transaction. Who does not tell is asked again, for a day.
    """
    due = (
        sa.select(webhook_inbox.c.id, webhook_inbox.c.raw, webhook_inbox.c.received_at)
        .where(webhook_inbox.c.provider == RECEIVED, webhook_inbox.c.processed_at.is_(None))
        .where(webhook_inbox.c.due_at <= now)
        .order_by(webhook_inbox.c.due_at)
        .limit(_AT_ONCE)
    )
    with store.transaction() as conn:
        rows = conn.execute(due).all()
    known = 0
    for row in rows:
        received = msgspec.json.decode(bytes(row.raw), type=Received)
        found = headers(received.email_id)
        with store.transaction() as conn:
            if found is not None:
                known += inbox.keep(conn, REPLY, [_told(received.action, is_automatic(found))], now)
            over = found is not None or row.received_at < now - PATIENCE
            pause = max(now - row.received_at, timedelta(seconds=15))
            later = {"processed_at": now} if over else {"due_at": now + pause}
            conn.execute(sa.update(webhook_inbox).where(webhook_inbox.c.id == row.id).values(later))
    return known


def by_sendgrid(content_type: str, body: bytes) -> Inbound:
    """Return the letter that SendGrid's Inbound Parse posted as a form, parsed or raw."""
    fields = _fields(content_type, body)
    # With "POST the raw, full MIME message" the whole letter stands in `email`.
    letter = message_from_string(fields.get("headers") or fields.get("email") or "")
    names = {name.lower(): str(value) for name, value in letter.items()}
    envelope = _envelope(fields.get("envelope", ""))
    written = [address for _, address in getaddresses([names.get("to", ""), names.get("cc", "")])]
    return Inbound(
        to=[*envelope.to, *written],
        answers=[*names.get("in-reply-to", "").split(), *names.get("references", "").split()],
        # Where no headers came along nobody can say that a person wrote.
        automatic=not names or is_automatic(names) or envelope.sender == "",
    )


def by_resend(body: bytes) -> Inbound | None:
    """Return the letter of Resend's event `email.received`; None for every other event."""
    try:
        said = msgspec.json.decode(body, type=_Event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if said.type != "email.received":
        return None
    written = [address for _, address in getaddresses([*said.data.to, *said.data.cc])]
    return Inbound(to=[*said.data.to, *written], email_id=said.data.email_id)


def is_automatic(headers: Mapping[str, str]) -> bool:
    """Say whether a program wrote a letter (RFC 3834, and what older programs say); names are in lower case."""
    submitted = headers.get("auto-submitted", "no").partition(";")[0].strip().lower()
    precedence = headers.get("precedence", "").strip().lower()
    return (
        submitted != "no"
        or precedence in _BULK
        or any(name in headers for name in _PROGRAMS)
        or headers.get("return-path", "").strip() == "<>"
        or headers.get("content-type", "").strip().lower().startswith("multipart/report")
    )


def is_password(given: str, password: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(password.encode()).digest())


_DISPOSITION = "content-disposition"


class _Letter(msgspec.Struct):
    email_id: str = ""
    to: list[str] = []
    cc: list[str] = []


class _Event(msgspec.Struct):
    type: str = ""
    data: _Letter = msgspec.field(default_factory=_Letter)


class _Envelope(msgspec.Struct):
    to: list[str] = []
    sender: str | None = msgspec.field(default=None, name="from")


def _fields(content_type: str, body: bytes) -> dict[str, str]:
    """Return a form's texts by name: those of its own parts, not of what somebody attached."""
    try:
        form = message_from_bytes(b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n" + body)
    except RecursionError:
        return {}
    parts = form.get_payload()
    if not isinstance(parts, list):
        return {}
    return {
        str(part.get_param("name", header=_DISPOSITION)): _text(part) for part in parts if isinstance(part, Message)
    }


def _envelope(text: str) -> _Envelope:
    try:
        return msgspec.json.decode(text, type=_Envelope)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _Envelope()


def _text(part: Message) -> str:
    content = part.get_payload(decode=True)
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else ""


def _told(action_id: UUID, machine: bool) -> Told:
    by = "program" if machine else "person"
    return Told(f"{action_id}/{by}", msgspec.json.encode(Reply(action_id, machine)))


def _answered(conn: Connection, came: Inbound, addresses: ReplyAddresses) -> UUID | None:
    """Return the action whose letter is answered: by its own address, or by the name that its channel gave it."""
    named = (addresses.action_of(address) for address in came.to[:_MOST_NAMES])
    action_id = next((one for one in named if one is not None), None)
    which = actions.c.id == action_id if action_id is not None else _is_one_of(came.answers[:_MOST_NAMES])
    return conn.scalar(sa.select(actions.c.id).where(actions.c.action_type == "email", which).limit(1))


def _is_one_of(names: Sequence[str]) -> sa.ColumnElement[bool]:
    """Say which actions were delivered under one of these: SMTP's id is the whole name, SendGrid's what is before @."""
    storable = [name.replace("\x00", "")[:_LONGEST_NAME] for name in names]
    whole = sa.and_(actions.c.channel == "smtp", actions.c.provider_id == _any("whole", storable))
    local = [name.strip("<>").partition("@")[0] for name in storable]
    begun = sa.and_(actions.c.channel == "sendgrid", actions.c.provider_id == _any("begun", local))
    return sa.or_(whole, begun)


def _any(name: str, values: Sequence[str]) -> sa.CollectionAggregate[bool]:
    return sa.any_(sa.bindparam(name, list(values), type_=pg.ARRAY(sa.Text)))
