"""What an action says, as a channel is handed it and as its recipient gets it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import content
from oracle_lib.execute import approvals, records, unsubscribe_links
from oracle_lib.execute.channels import Message, Refused, Tracking, letter
from oracle_lib.execute.channels.letter import Letter, Sender
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import users


class _Said(Protocol):
    """What both an action and somebody's claim on it know."""

    @property
    def id(self) -> UUID: ...
    @property
    def user_id(self) -> str: ...
    @property
    def action_type(self) -> str: ...
    @property
    def subject(self) -> str | None: ...
    @property
    def content(self) -> str: ...
    @property
    def message_class(self) -> str: ...


@dataclass(frozen=True)
class Preview:
    """What a recipient would get now. `html` and `preheader` are of e-mails; `to` is the user's address.

    `problem` is the reason for which no message could be made, as the executor would give it; then nothing is there.
    """

    action_type: str
    sender: str
    to: str | None
    subject: str | None
    preheader: str | None
    text: str | None
    html: str | None
    problem: str | None = None


def compose(
    about: _Said, payload: bytes, *, to: str | None, link: Callable[[], str] | None, tracking: Tracking | None = None
) -> Message:
    """Return an action's message; an e-mail goes `to` an address, and marketing has `link` as its way out."""
    mailed = about.action_type == "email"
    unsubscribe = link() if link and mailed and about.message_class == "marketing" else None
    address = to if mailed else None
    preheader, locale = content.of_letter(payload) if mailed else (None, None)
    return Message(
        about.id,
        about.user_id,
        about.action_type,
        about.subject,
        about.content,
        payload,
        to=address,
        unsubscribe=unsubscribe,
        tracking=tracking,
        preheader=preheader,
        locale=locale,
    )


def preview(conn: Connection, action_id: UUID, settings: Settings) -> Preview:
    """Return what the recipient of an action would get, untracked and with a link that unsubscribes nobody.

    Raises `NotFound`.
    """
    action = records.get(conn, action_id)
    to = conn.scalar(sa.select(users.c.email).where(users.c.id == action.user_id))
    link = (lambda: unsubscribe_links.example(settings.public_url)) if settings.public_url else None
    message = compose(action, approvals.payload(action), to=to, link=link)
    if action.action_type == "email":
        sender = Sender(settings.email_sender, settings.email_address, settings.postal_address)
        return _of_letter(letter.compose(message, sender), sender)
    senders = {"dm": settings.dm_sender, "post": settings.post_sender, "alert": settings.alert_sender}
    signed = senders.get(action.action_type, "")
    return Preview(action.action_type, signed, None, action.subject, None, action.content, None)


def _of_letter(made: Letter | Refused, sender: Sender) -> Preview:
    if isinstance(made, Refused):
        return Preview("email", str(sender), None, None, None, None, None, made.reason)
    return Preview("email", str(sender), made.to, made.subject, made.preheader, made.text, made.html)
