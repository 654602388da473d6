"""The browsers by which a user takes web push: what the Push API of a browser hands out, kept until it is worthless.

A browser is known by its endpoint. Whoever subscribed last with it has it, so a browser that several people use shows
nobody another's messages. A user has at most ten; the oldest makes room. Endpoints are those of the known push
services only (S9), asked when one is kept and again when something is sent.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.errors import Invalid, NotFound
from oracle_lib.execute.channels.line import check_url
from oracle_lib.storage.tables import push_subscriptions, users

MAX_DEVICES = 10
_LONGEST_ENDPOINT = 2000
_HOSTS = ("fcm.googleapis.com", "updates.push.services.mozilla.com")
_DOMAINS = (".push.apple.com", ".notify.windows.com")
_KEY_BYTES, _AUTH_BYTES = 65, 16


@dataclass(frozen=True)
class Device:
    """One browser: where messages for it are posted, and the keys they are encrypted to."""

    id: UUID
    endpoint: str
    p256dh: bytes
    auth: bytes
    created_at: datetime


def subscribe(
    conn: Connection,
    user_id: str,
    *,
    endpoint: str,
    p256dh: str,
    auth: str,
    expires_at: datetime | None,
    now: datetime,
    internal: bool,
) -> Device:
    """Keep a browser's subscription for a user. Keys come in base64url, as browsers give them. Idempotent.

    Raises `Invalid` for an endpoint or a key that cannot be used, `NotFound` for an unknown user.
    """
    values = {
        "endpoint": check_endpoint(endpoint, internal=internal),
        "p256dh": _public_key(p256dh),
        "auth": _bytes(auth, _AUTH_BYTES, "keys.auth"),
        "user_id": user_id,
        "expires_at": expires_at,
    }
    # Holds the user, so that two browsers at once do not both find room.
    if conn.scalar(sa.select(users.c.id).where(users.c.id == user_id).with_for_update()) is None:
        raise NotFound(f"There is no user {user_id!r}.")
    written = (
        insert(push_subscriptions)
        .values(**values, created_at=now)
        .on_conflict_do_update(index_elements=["endpoint"], set_=values)
        .returning(*_DEVICE)
    )
    device = Device(*conn.execute(written).one())
    _make_room(conn, user_id, device)
    return device


def unsubscribe(conn: Connection, user_id: str, endpoint: str) -> None:
    """Forget a user's browser; nothing happens where it is not known as theirs."""
    theirs = sa.and_(push_subscriptions.c.user_id == user_id, push_subscriptions.c.endpoint == endpoint)
    conn.execute(sa.delete(push_subscriptions).where(theirs))


def forget(conn: Connection, gone: list[UUID]) -> None:
    """Forget browsers of which their push service says that they are no more."""
    conn.execute(sa.delete(push_subscriptions).where(push_subscriptions.c.id.in_(gone)))


def listing(conn: Connection, user_id: str, now: datetime) -> list[Device]:
    """Return a user's browsers that have not expired, the newest first."""
    live = sa.or_(push_subscriptions.c.expires_at.is_(None), push_subscriptions.c.expires_at > now)
    query = sa.select(*_DEVICE).where(push_subscriptions.c.user_id == user_id, live).order_by(*_NEWEST_FIRST)
    return [Device(*row) for row in conn.execute(query)]


def check_endpoint(endpoint: str, *, internal: bool) -> str:
    """Return an endpoint that belongs to a known push service; `internal` allows any host. Raises `Invalid`."""
    try:
        check_url(endpoint, internal=internal)
    except Invalid as error:
        raise Invalid(f"`endpoint`: {error}", field="endpoint", code="bad_endpoint") from error
    host = urlsplit(endpoint).hostname or ""
    if not internal and host not in _HOSTS and not host.endswith(_DOMAINS):
        raise Invalid("`endpoint` is at no push service that we know.", field="endpoint", code="bad_endpoint")
    if len(endpoint) > _LONGEST_ENDPOINT:
        raise Invalid(f"`endpoint` has more than {_LONGEST_ENDPOINT} characters.", field="endpoint", code="too_long")
    return endpoint


_DEVICE = tuple(push_subscriptions.c[name] for name in Device.__dataclass_fields__)
_NEWEST_FIRST = (push_subscriptions.c.created_at.desc(), push_subscriptions.c.id.desc())


def _make_room(conn: Connection, user_id: str, newest: Device) -> None:
    others = sa.select(push_subscriptions.c.id).where(
        push_subscriptions.c.user_id == user_id, push_subscriptions.c.id != newest.id
    )
    too_many = others.order_by(*_NEWEST_FIRST).offset(MAX_DEVICES - 1)
    conn.execute(sa.delete(push_subscriptions).where(push_subscriptions.c.id.in_(too_many)))


def _public_key(text: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec

    point = _bytes(text, _KEY_BYTES, "keys.p256dh")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise Invalid("`keys.p256dh` is no point of P-256.", field="keys.p256dh", code="bad_key") from error
    return point


def _bytes(text: str, length: int, field: str) -> bytes:
    bare = text.rstrip("=")
    try:
        found = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != length:
        raise Invalid(f"`{field}` must be the base64url of {length} bytes.", field=field, code="bad_key")
    return found
