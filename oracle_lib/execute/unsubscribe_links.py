"""The address by which somebody says that they want no more: in every marketing e-mail, valid for ever.

A token is an action's id and a keyed hash of it; the action says which user and channel are meant. So no user id stands
in addresses, which end up in logs, and the same action has the same link at every try. Made with the standard library:
`itsdangerous` is not installed, and would add nothing to one HMAC over 16 bytes.

The key is `ORACLE_SECRET`, or made once and kept in the table `secrets`. Another key breaks every link that was sent.
Guarantee G8: `tests/guarantees/test_g8_unsubscribe.py`.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from uuid import UUID

from sqlalchemy import Connection

from oracle_lib.execute import own_keys
from oracle_lib.settings import Settings

_NAME = "unsubscribe"
# What else is ever signed with the same key is not taken for a link.
_PURPOSE = b"oracle/unsubscribe/1:"
_ID_BYTES, _MAC_BYTES = 16, 16


def key(conn: Connection, settings: Settings) -> bytes:
    """Return the key that links are signed with; the first caller makes it."""
    if settings.secret is not None and (chosen := settings.secret.get_secret_value()):
        return chosen.encode()
    return own_keys.kept(conn, _NAME, lambda: secrets.token_bytes(32))


def link(public_url: str, key: bytes, action_id: UUID) -> str:
    """Return the address of the page, and of the one-click POST, for an action."""
    return f"{public_url.rstrip('/')}/unsubscribe/{token(key, action_id)}"


def example(public_url: str) -> str:
    """Return an address of the same form that unsubscribes nobody, for those who only look at a message."""
    return f"{public_url.rstrip('/')}/unsubscribe/example"


def token(key: bytes, action_id: UUID) -> str:
    """Return the signed name of an action: 43 characters of base64url."""
    return base64.urlsafe_b64encode(action_id.bytes + _mac(key, action_id.bytes)).rstrip(b"=").decode()


def action_of(key: bytes, token: str) -> UUID | None:
    """Return the action that a token names; None unless it is, letter for letter, one that was signed with `key`."""
    try:
        raw = base64.urlsafe_b64decode(f"{token}=")
    except (binascii.Error, ValueError):
        return None
    named = raw[:_ID_BYTES].ljust(_ID_BYTES, b"\0")
    expected = base64.urlsafe_b64encode(named + _mac(key, named)).rstrip(b"=")
    # The text is compared, not the bytes: base64 has several spellings for the same bytes.
    return UUID(bytes=named) if hmac.compare_digest(expected, token.encode()) else None


def _mac(key: bytes, named: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + named, hashlib.sha256)[:_MAC_BYTES]
