"""Where answers to a letter go: an address that names its action, `reply+TOKEN@inbound.academy.example`.

The token is the action's id and a keyed hash of it, in letters that survive a mail program that writes addresses small:
nobody can make an address for another action. It follows from action and settings alone: at every try the letter is the
same. The key is that of `unsubscribe_links`, for another purpose.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from oracle_lib.execute import unsubscribe_links
from oracle_lib.settings import Settings

_PURPOSE = b"oracle/reply/1:"
_ID_BYTES, _MAC_BYTES = 16, 12
# Base32 comes in eights.
_PADDING = "=" * 3


@dataclass(frozen=True)
class ReplyAddresses:
    """The addresses of one installation: `mailbox` and `domain` are the halves of `ORACLE_REPLY_ADDRESS`."""

    mailbox: str
    domain: str
    key: bytes

    def of(self, action_id: UUID) -> str:
        """Return where answers to an action's letter go."""
        return f"{self.mailbox}+{_token(self.key, action_id.bytes)}@{self.domain}"

    def action_of(self, address: str) -> UUID | None:
        """Return the action that an address names; None unless it is one of these."""
        mailbox, _, rest = address.strip().lower().partition("+")
        token, _, domain = rest.partition("@")
        if (mailbox, domain) != (self.mailbox.lower(), self.domain.lower()):
            return None
        try:
            named = base64.b32decode(f"{token.upper()}{_PADDING}")[:_ID_BYTES].ljust(_ID_BYTES, b"\0")
        except (binascii.Error, ValueError):
            return None
        return UUID(bytes=named) if hmac.compare_digest(_token(self.key, named).encode(), token.encode()) else None


def of_installation(conn: Connection, settings: Settings) -> ReplyAddresses | None:
    """Return the installation's addresses; None: it has none, and nobody knows who answers."""
    mailbox, _, domain = settings.reply_address.partition("@")
    return ReplyAddresses(mailbox, domain, unsubscribe_links.key(conn, settings)) if domain else None


def _token(key: bytes, named: bytes) -> str:
    mac = hmac.digest(key, _PURPOSE + named, hashlib.sha256)[:_MAC_BYTES]
    return base64.b32encode(named + mac).decode().rstrip("=").lower()
