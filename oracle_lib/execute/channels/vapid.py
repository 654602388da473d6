"""Who we are to push services (VAPID, RFC 8292): a key pair, and the signed header that each request carries.

The private key is `ORACLE_VAPID_PRIVATE_KEY`, or made once and kept in the table `secrets`. Browsers subscribe to its
public half: another key ends every subscription.
"""

import base64
import binascii
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02
from sqlalchemy import Connection

from oracle_lib.errors import Invalid, Permanent
from oracle_lib.execute import own_keys
from oracle_lib.execute.channels.letter import plain_address
from oracle_lib.settings import Settings

_NAME = "vapid"
_KEY_BYTES = 32
# Push services refuse more than 24 h.
_VALID_FOR = timedelta(hours=12)


class Signer:
    """Signs requests to push services. Raises `ValueError` for 32 bytes that are no key of P-256."""

    def __init__(self, private_key: bytes, subject: str) -> None:
        self._vapid = Vapid02(ec.derive_private_key(int.from_bytes(private_key), ec.SECP256R1()))
        self._subject = subject

    @property
    def public_key(self) -> str:
        """What browsers call `applicationServerKey`: the point in base64url, 87 characters."""
        point = self._vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return base64.urlsafe_b64encode(point).rstrip(b"=").decode()

    def authorization(self, endpoint: str, now: datetime) -> str:
        """Return the header `Authorization` for a request to an endpoint: good for its origin and 12 h."""
        to = urlsplit(endpoint)
        claims = {
            "aud": f"{to.scheme}://{to.netloc}",
            "exp": int((now + _VALID_FOR).timestamp()),
            "sub": self._subject,
        }
        return str(self._vapid.sign(claims)["Authorization"])


def signer(conn: Connection, settings: Settings) -> Signer:
    """Return the installation's signer; the first caller makes its key. Raises `Invalid` for a wrong setting."""
    return Signer(_private_key(conn, settings), _subject(settings))


def public_key(conn: Connection, settings: Settings) -> str:
    """Return what browsers subscribe to; the first caller makes it. Raises `Permanent` for a setting that is wrong."""
    try:
        private_key = _private_key(conn, settings)
    except Invalid as error:
        raise Permanent(str(error)) from error
    return Signer(private_key, "").public_key


def check(settings: Settings) -> None:
    """Raise `Invalid`, with the setting's name, for what keeps web push from working. Connects to nothing."""
    _chosen_key(settings)
    _subject(settings)


def _private_key(conn: Connection, settings: Settings) -> bytes:
    return _chosen_key(settings) or own_keys.kept(conn, _NAME, _new_key)


def _chosen_key(settings: Settings) -> bytes | None:
    text = settings.vapid_private_key.get_secret_value().strip() if settings.vapid_private_key else ""
    if not text:
        return None
    try:
        key = base64.b64decode(text.rstrip("=") + "=", altchars=b"-_", validate=True)
        if len(key) == _KEY_BYTES:
            ec.derive_private_key(int.from_bytes(key), ec.SECP256R1())
            return key
    except (binascii.Error, ValueError):
        pass
    raise Invalid("ORACLE_VAPID_PRIVATE_KEY must be the base64url of the 32 bytes of a P-256 private key.")


def _subject(settings: Settings) -> str:
    given = settings.vapid_subject.strip() or (f"mailto:{settings.email_address}" if settings.email_address else "")
    if not given:
        raise Invalid("ORACLE_VAPID_SUBJECT is not set: push services ask whom they can write to.")
    kind, _, rest = given.partition(":")
    if (kind == "mailto" and plain_address(rest)) or (kind == "https" and urlsplit(given).hostname):
        return given
    raise Invalid("ORACLE_VAPID_SUBJECT must be mailto: and one address, or https:// and a page.")


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(_KEY_BYTES)
