"""API keys: who may call, and what for.

A key reads `ork_<environment>_<id>_<secret>_<checksum>`. It is shown once, when it is made; the table `api_keys` holds
the SHA-256 of its secret, which is enough for a random secret of 256 bits (OWASP ASVS 11.5.1). The checksum lets a
mistyped key, or one that a scanner finds in a repository, be told from a real one without asking the database. An
unknown id and a wrong secret are answered alike and cost the same. `verify` refuses a revoked key at the next call; the
routes that take events remember a good one for 4 s (`oracle_api/callers.py`).
Proved by `tests/security/test_s3_api_keys.py`.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Invalid, NotFound, Unknown
from oracle_lib.storage.tables import api_keys

ADMIN = "admin"
SCOPES = (
    "events:write",
    "events:read",
    "actions:read",
    "actions:write",
    "actions:approve",
    "rules:read",
    "rules:write",
    "users:read",
    "users:write",
    "report:read",
    ADMIN,
)
_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 8
# 43 letters out of 62 hold 256 bits.
_SECRET_LENGTH = 43
_FORMAT = re.compile(r"(ork_[a-z]{1,20}_([A-Za-z0-9]{8})_([A-Za-z0-9]{32,64}))_([0-9a-f]{8})")
_NOBODY = bytes(32)
_USE_NOTED_EVERY = timedelta(minutes=1)


class NewKey(NamedTuple):
    """A key at the one moment it can be read."""

    id: str
    key: str


@dataclass(frozen=True)
class Caller:
    """Who is calling: the key's id, the source its events and moves are signed with, and what it may do."""

    id: str
    source: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Say whether the caller has a scope; `admin` has every one."""
        return scope in self.scopes or ADMIN in self.scopes


@dataclass(frozen=True)
class KeyInfo:
    """What may be known of a key afterwards: everything but the secret."""

    id: str
    source: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class Presented:
    """A key whose form and checksum are right; whether it is known, only the database can say."""

    id: str
    secret_sha256: bytes


def create(
    conn: Connection,
    source: str,
    scopes: Collection[str],
    now: datetime,
    *,
    environment: str = "production",
    expires_at: datetime | None = None,
) -> NewKey:
    """Make a key for `source` (the system that will hold it) and return it, once.

    Two live keys of one source are how a key is rotated. Raises `Invalid` for a scope that does not exist.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        named = ", ".join(unknown) or "none"
        raise Invalid(f"Unknown scope: {named}. Choose among {', '.join(SCOPES)}.", field="scopes", code="bad_scope")
    if not source.strip() or len(source) > 200 or "\x00" in source:
        raise Invalid("`source` must have 1 to 200 characters.", field="source", code="bad_source")
    key_id, secret = _random(_ID_LENGTH), _random(_SECRET_LENGTH)
    row = {
        "id": key_id,
        "secret_sha256": hashlib.sha256(secret.encode()).digest(),
        "source": source,
        "scopes": sorted(scopes),
        "created_at": now,
        "expires_at": expires_at,
    }
    conn.execute(sa.insert(api_keys).values(row))
    body = f"ork_{environment}_{key_id}_{secret}"
    return NewKey(key_id, f"{body}_{_checksum(body)}")


def parse(key: str) -> Presented:
    """Check a key's form and checksum, without the database. Raises `Unknown`."""
    found = _FORMAT.fullmatch(key)
    if found is None or not hmac.compare_digest(_checksum(found[1]), found[4]):
        raise Unknown("The API key is not valid.")
    return Presented(found[2], hashlib.sha256(found[3].encode()).digest())


def verify(conn: Connection, key: str | Presented, now: datetime) -> Caller:
    """Return who holds `key`. Raises `Unknown` if nobody does, if it has expired or was revoked."""
    presented = parse(key) if isinstance(key, str) else key
    row = conn.execute(sa.select(api_keys).where(api_keys.c.id == presented.id)).one_or_none()
    same = hmac.compare_digest(row.secret_sha256 if row else _NOBODY, presented.secret_sha256)
    if row is None or not same or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        raise Unknown("The API key is not valid.")
    if row.last_used_at is None or now - row.last_used_at >= _USE_NOTED_EVERY:
        _note_use(conn, presented.id, now)
    return Caller(row.id, row.source, frozenset(row.scopes))


def revoke(conn: Connection, key_id: str, now: datetime) -> KeyInfo:
    """Make a key worthless from the next call on; the first revocation stands. Raises `NotFound`."""
    revoked = (
        sa.update(api_keys)
        .where(api_keys.c.id == key_id)
        .values(revoked_at=sa.func.coalesce(api_keys.c.revoked_at, now))
        .returning(*_KNOWN)
    )
    row = conn.execute(revoked).one_or_none()
    if row is None:
        raise NotFound(f"There is no API key with the id {key_id}.")
    return _info(row)


def listing(conn: Connection) -> list[KeyInfo]:
    """Return every key, newest first, the revoked ones too."""
    return [_info(row) for row in conn.execute(sa.select(*_KNOWN).order_by(api_keys.c.created_at.desc()))]


_KNOWN = tuple(column for column in api_keys.c if column.name != "secret_sha256")


def _info(row: sa.Row) -> KeyInfo:
    fields = {**row._mapping, "scopes": tuple(row.scopes)}
    return KeyInfo(**fields)


def _note_use(conn: Connection, key_id: str, now: datetime) -> None:
    """Write when a key was used, unless another request is just doing so: none waits for another over this."""
    free = sa.select(api_keys.c.id).where(api_keys.c.id == key_id).with_for_update(skip_locked=True)
    conn.execute(sa.update(api_keys).where(api_keys.c.id.in_(free.scalar_subquery())).values(last_used_at=now))


def _random(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
