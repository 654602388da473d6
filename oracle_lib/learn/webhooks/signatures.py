"""Whether a webhook comes from the provider: its signature over the raw bytes, and a time within 300 s of ours.

Resend signs as Svix does (HMAC-SHA256 over `id.timestamp.body`, one or several signatures while a secret is changed),
SendGrid by ECDSA on P-256 over timestamp and body. The providers' own libraries are not used: `svix` raises ValueError
on a signature without a comma, `sendgrid` on bad base64, and it takes a signature of any age.

Whatever is wrong raises `Unknown` with the same words.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from oracle_lib.errors import Permanent, Unknown

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

WINDOW_SECONDS = 300
# Seconds since 1970 have ten digits until 2286.
_MOST_DIGITS = 12
_SENDGRID = "x-twilio-email-event-webhook"


def check_svix(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Return the id of a message that was signed with `secret` (`whsec_` and base64). Raises `Unknown`."""
    event_id, stamp = headers.get("svix-id", ""), headers.get("svix-timestamp", "")
    _check_time(stamp, now)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.digest(key, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(signed)
    given = headers.get("svix-signature", "").split()
    if not event_id or not any(hmac.compare_digest(expected, one.encode()) for one in given):
        raise _forged()
    return event_id


def check_sendgrid(public_key: str, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Return if the body was signed with the private half of `public_key` (base64 of DER). Raises `Unknown`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    stamp = headers.get(f"{_SENDGRID}-timestamp", "")
    _check_time(stamp, now)
    try:
        signature = base64.b64decode(headers.get(f"{_SENDGRID}-signature", ""), validate=True)
        _loaded(public_key).verify(signature, stamp.encode() + body, ECDSA(hashes.SHA256()))
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise _forged() from error


@lru_cache(maxsize=4)
def _loaded(public_key: str) -> "EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(base64.b64decode(public_key))
    except ValueError as error:
        raise Permanent("ORACLE_SENDGRID_WEBHOOK_KEY is no key: copy it again from SendGrid.") from error
    assert isinstance(key, EllipticCurvePublicKey)  # noqa: S101  the setting's pattern says so
    return key


def _check_time(stamp: str, now: datetime) -> None:
    """Refuse what is no number of seconds, or too far from now: somebody may have kept it to send it again."""
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= _MOST_DIGITS):
        raise _forged()
    if abs(now.timestamp() - int(stamp)) > WINDOW_SECONDS:
        raise _forged()


def _forged() -> Unknown:
    return Unknown("The webhook's signature does not hold, or it is too old.")
