"""What an action says, as bytes: what is hashed, approved, frozen and sent is one canonical JSON.

The hash of a pending action's content is the SHA-256 of the very bytes that will be sent if it is approved.
"""

import hashlib
import json

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def payload(
    *,
    user_id: str,
    action_type: str,
    subject: str | None,
    content: str,
    preheader: str | None = None,
    locale: str | None = None,
    address: str | None = None,
) -> bytes:
    """Return the canonical JSON (sorted keys, no spaces, UTF-8) of what is sent to whom by which way.

    `preheader` is what mailboxes show beside an e-mail's subject, `locale` that of the user, which its footer is
    written for, `address` the community of a post or the team of an alert. What is None is left out, except the
    subject: so what was hashed before there was more has the same hash.
    """
    footer = {"locale": locale} if action_type == "email" else {}
    body = {"actionType": action_type, "content": content, "subject": subject, "userId": user_id}
    more = {"address": address, "preheader": preheader, **footer}
    body |= {name: value for name, value in more.items() if value is not None}
    return _CANONICAL.encode(body).encode()


def of_letter(payload: bytes) -> tuple[str | None, str | None]:
    """Return the preheader and the locale that an e-mail's payload holds."""
    said = json.loads(payload)
    return said.get("preheader"), said.get("locale")


def content_hash(data: bytes) -> str:
    """Return the hash by which a payload is approved and recognized: SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
