"""What providers post about messages, signed as they sign it."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from uuid import UUID

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

RESEND_SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes ...").decode()
_KEY = ec.generate_private_key(ec.SECP256R1())
SENDGRID_KEY = base64.b64encode(
    _KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()


def signed_by_resend(event_id: str, body: bytes, at: datetime, secret: str = RESEND_SECRET) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256)
    return {
        "svix-id": event_id,
        "svix-timestamp": stamp,
        "svix-signature": "v1," + base64.b64encode(mac).decode(),
    }


def signed_by_sendgrid(body: bytes, at: datetime, key: ec.EllipticCurvePrivateKey = _KEY) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    signature = base64.b64encode(key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    prefix = "X-Twilio-Email-Event-Webhook-"
    return {f"{prefix}Timestamp": stamp, f"{prefix}Signature": signature}


def resend_event(
    kind: str, at: datetime, *, action_id: UUID | None = None, email_id: str = "", **data: object
) -> bytes:
    """`kind` without its `email.`; `data` goes beside the letter's own."""
    about = {"email_id": email_id, "to": ["ada@example.org"], "subject": "Hi", **data}
    if action_id is not None:
        about["tags"] = {"action": str(action_id)}
    return json.dumps({"type": f"email.{kind}", "created_at": at.isoformat(), "data": about}).encode()


def sendgrid_event(
    event_id: str, kind: str, at: datetime, *, action: str = "", message_id: str = "", **more: object
) -> dict[str, object]:
    """`action` is the custom argument that the letter took along: its idempotency key."""
    return {
        "email": "ada@example.org",
        "timestamp": int(at.astimezone(UTC).timestamp()),
        "event": kind,
        "sg_event_id": event_id,
        "sg_message_id": f"{message_id}.recvd-5b7c" if message_id else "",
        "action": action,
        **more,
    }
