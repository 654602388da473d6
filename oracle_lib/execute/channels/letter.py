"""A message as an e-mail: one sender, one recipient, a subject of one line, plain text and the same as simple HTML.

Nothing that a profile, a rule or a person wrote can add a header or a recipient: control characters leave names and
subject, an address is one address or the letter is refused, and HTML holds text only as text.

Marketing shows who sends it from where and how to get no more: a link at its end, and the two headers by which mail
programs offer one click (RFC 8058). They follow from action and settings alone: at every try the letter is the same.

A preheader stands hidden at the top of the HTML, where mailboxes look for what they show beside the subject.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP as _SMTP
from email.policy import Policy
from email.utils import format_datetime
from html import escape
from textwrap import shorten

from oracle_lib.execute import unsubscribe_words
from oracle_lib.execute.channels.protocol import Message, Refused, Tracking
from oracle_lib.execute.reply_addresses import ReplyAddresses

MAX_SUBJECT = 255
MAX_ADDRESS = 254
MAX_PREHEADER = 255
# How much of a letter without one mailboxes show.
_FIRST_WORDS = 100
# One ASCII address without comments, quotes or lists: what every provider takes for one.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(
    rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+)*@(?:{_LABEL}\.)+{_LABEL}"
)
_LINK = re.compile(r"(https?://[^\s<>\"']*[^\s<>\"'.,;:!?)\]])")
# Each of these is what some mailbox goes by.
_HIDDEN = "display:none;max-height:0;overflow:hidden;opacity:0;font-size:1px;line-height:1px"
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")


class _Whole(UnstructuredHeader, BaseHeader):
    """A header that is never folded: folding writes a long address as an encoded word, which is no link any more."""

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _Whole)
# Seven bits pass every server.
_POLICY = _SMTP.clone(cte_type="7bit", header_factory=_HEADERS)


@dataclass(frozen=True)
class Sender:
    """Who a letter comes from: a plain address, a name and a postal address, both of which may be empty.

    `replies` are the addresses that answers go to; None: answers go to the sender.
    """

    name: str
    address: str
    postal_address: str = ""
    replies: ReplyAddresses | None = None

    def __str__(self) -> str:
        """Return `"Name" <address>`, as JSON interfaces take it."""
        name = one_line(self.name).replace("\\", "").replace('"', "")
        return f'"{name}" <{self.address}>' if name else self.address


@dataclass(frozen=True)
class Letter:
    """What every e-mail channel sends; `headers` are those beside the usual ones.

    `preheader` is what mailboxes show beside the subject. `reply_to` is where answers go, None: to the sender.
    """

    sender: Sender
    to: str
    subject: str
    text: str
    html: str
    preheader: str
    headers: Mapping[str, str] = field(default_factory=dict)
    reply_to: str | None = None


def compose(message: Message, sender: Sender) -> Letter | Refused:
    """Return the letter of a message; the user's missing or impossible address is refused for good."""
    if message.to is None or not message.to.strip():
        return Refused("no_address", permanent=True)
    to = plain_address(message.to)
    if to is None:
        return Refused("bad_address", permanent=True)
    subject = one_line(message.subject or "")[:MAX_SUBJECT].rstrip()
    text = _no_controls(message.content)
    hidden = one_line(message.preheader or "")[:MAX_PREHEADER].rstrip()
    headers: Mapping[str, str] = {}
    if message.unsubscribe is not None:
        text = f"{text.rstrip()}\n\n{_footer(sender, message.unsubscribe, message.locale)}"
        headers = _one_click(message.unsubscribe)
    shown = hidden or shorten(text, _FIRST_WORDS, placeholder="...")
    reply_to = sender.replies.of(message.action_id) if sender.replies else None
    return Letter(sender, to, subject, text, _html(text, hidden, message.tracking), shown, headers, reply_to)


def links(content: str) -> list[str]:
    """Return the addresses that a letter of this content links to."""
    return list(dict.fromkeys(_LINK.findall(_no_controls(content))))


def plain_address(text: str) -> str | None:
    """Return a text as the one e-mail address that it is, its domain in ASCII; None if it is anything else."""
    local, _, domain = text.rpartition("@")
    try:
        address = f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return None
    return address if len(address) <= MAX_ADDRESS and _ADDRESS.fullmatch(address) else None


def one_line(text: str) -> str:
    """Return a text as one line without control characters, fit for a header."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def mime(letter: Letter, message_id: str, date: datetime) -> EmailMessage:
    """Return the letter as a MIME message of two alternatives, text first."""
    made = EmailMessage(policy=_POLICY)
    name = one_line(letter.sender.name)
    made["From"] = Address(display_name=name, addr_spec=letter.sender.address)
    made["To"] = Address(addr_spec=letter.to)
    if letter.reply_to is not None:
        made["Reply-To"] = Address(addr_spec=letter.reply_to)
    made["Subject"] = letter.subject
    made["Message-ID"] = message_id
    made["Date"] = format_datetime(date)
    for header, value in letter.headers.items():
        made[header] = value
    made.set_content(letter.text)
    made.add_alternative(letter.html, subtype="html")
    return made


def _footer(sender: Sender, unsubscribe: str, locale: str | None) -> str:
    words = unsubscribe_words.words_for(locale)
    return f"{_no_controls(sender.postal_address).strip()}\n{words.leads_here}: {unsubscribe}"


def _one_click(unsubscribe: str) -> Mapping[str, str]:
    return {"List-Unsubscribe": f"<{unsubscribe}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def _no_controls(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(character for character in text if character in "\n\t" or (character >= " " and character != "\x7f"))


def _html(text: str, hidden: str, tracking: Tracking | None) -> str:
    leads_to = {} if tracking is None else tracking.links
    top = f'<div style="{_HIDDEN}">{escape(hidden)}</div>' if hidden else ""
    body = top + "".join(_paragraph(part, leads_to) for part in _PARAGRAPHS.split(text.strip()))
    if tracking is not None:
        body += f'<img src="{escape(tracking.picture)}" width="1" height="1" alt="">'
    return f'<!doctype html><html><head><meta charset="utf-8"></head><body>{body}</body></html>'


def _paragraph(text: str, leads_to: Mapping[str, str]) -> str:
    pieces = [
        f'<a href="{escape(leads_to.get(piece, piece))}">{escape(piece)}</a>' if number % 2 else escape(piece)
        for number, piece in enumerate(_LINK.split(text))
    ]
    return "<p>" + "".join(pieces).replace("\n", "<br>") + "</p>"
