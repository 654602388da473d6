"""Notifications in the user's browsers: RFC 8030 (delivery), RFC 8291 (encryption), RFC 8292 (who sends).

A message goes to each browser of the user and is delivered when one push service takes it. A browser that is gone
(404, 410) is forgotten. Push services know no idempotency keys: a repeat carries the same `Topic`, by which they
replace what is still on its way, and the same notification tag, by which the browser replaces what it shows, silently.
Who has dismissed the first sees the second. The libraries encrypt and sign; the bytes travel by our own way out.
"""

import base64
import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec

from oracle_lib.errors import Invalid
from oracle_lib.execute import push_subscriptions
from oracle_lib.execute.channels import outward, vapid
from oracle_lib.execute.channels.outward import OutwardAnywhere, Reply, answer_to
from oracle_lib.execute.channels.protocol import Ambiguous, Answer, Broken, Delivered, Limited, Message, Refused
from oracle_lib.execute.push_subscriptions import Device
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store

# A body has 4,096 bytes at most (RFC 8030); encryption adds 103 and we leave it room.
LONGEST = 3900
# So that one push service that stalls does not keep the others from being asked.
_DEVICE_SECONDS = 5.0
_NO_SUBSCRIPTION = Refused("no_subscription", permanent=True)
_CANNOT_HAVE = (404, 410)


class WebPush:
    """Posts encrypted messages to the push services of a user's browsers."""

    name = "webpush"
    idempotent = True
    reaches_people = True

    def __init__(self, store: Store, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        """`clock` returns UTC. Raises `Invalid` for settings that do not work; connects to nothing."""
        vapid.check(settings)
        self._store = store
        self._settings = settings
        self._clock = clock
        # A repeat replaces the first as long as a push service keeps it.
        self.key_lives: timedelta | None = timedelta(hours=settings.push_hours)
        self._out = OutwardAnywhere(secret="", internal=settings.internal_endpoints)
        self._signer: vapid.Signer | None = None

    def deliver(self, message: Message, key: str) -> Answer:
        """Post the message to every browser of the user; `Delivered` when one push service took it."""
        body = self._body(message)
        if len(body) > LONGEST:
            return Refused(f"too long for a push message: {len(body)} bytes, at most {LONGEST}", permanent=True)
        with self._store.transaction() as conn:
            self._signer = self._signer or vapid.signer(conn, self._settings)
            devices = push_subscriptions.listing(conn, message.user_id, self._clock())
        until = time.monotonic() + outward.TOTAL_SECONDS
        topic = base64.urlsafe_b64encode(message.action_id.bytes).rstrip(b"=").decode()
        answers = [self._send(device, body, topic, self._signer, until) for device in devices]
        gone = [device.id for device, answer in zip(devices, answers, strict=True) if answer is _NO_SUBSCRIPTION]
        if gone:
            with self._store.transaction() as conn:
                push_subscriptions.forget(conn, gone)
        return _best(answers, key)

    def close(self) -> None:
        """Close the connections."""
        self._out.close()

    def _send(self, device: Device, body: bytes, topic: str, signer: vapid.Signer, until: float) -> Answer:
        try:
            endpoint = push_subscriptions.check_endpoint(device.endpoint, internal=self._settings.internal_endpoints)
        except Invalid as error:
            return Refused(str(error), permanent=True)
        left = until - time.monotonic()
        if left <= 0:
            return Refused("no time was left", permanent=False)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(self._settings.push_hours * 3600),
            "Urgency": "normal",
            "Topic": topic,
            "Authorization": signer.authorization(endpoint, self._clock()),
        }
        encrypted = _encrypted(body, device)
        return _said(self._out.post(endpoint, encrypted, headers, min(left, _DEVICE_SECONDS)), endpoint)

    def _body(self, message: Message) -> bytes:
        shown = {
            "title": message.subject or self._settings.push_sender,
            "body": message.content,
            "actionId": str(message.action_id),
            "link": self._settings.push_link,
        }
        return json.dumps(shown, ensure_ascii=False).encode()


def _encrypted(body: bytes, device: Device) -> bytes:
    one_time = ec.generate_private_key(ec.SECP256R1())
    encrypted: bytes = http_ece.encrypt(
        body, private_key=one_time, dh=device.p256dh, auth_secret=device.auth, version="aes128gcm"
    )
    return encrypted


def _said(reply: Reply | Refused | Ambiguous | Broken, endpoint: str) -> Answer:
    """Say what a push service's reply means for one browser.

    None means that the channel is broken or has had enough: a browser may have subscribed to somebody else's key, or be
    one of many services, and must not hold up the others.
    """
    if isinstance(reply, Reply):
        if reply.status in _CANNOT_HAVE:
            return _NO_SUBSCRIPTION
        answer = answer_to(reply, "")
    else:
        answer = reply
    if isinstance(answer, (Broken, Limited)):
        return Refused(f"{urlsplit(endpoint).hostname}: {answer.reason}", permanent=False)
    return answer


def _best(answers: Sequence[Answer], key: str) -> Answer:
    """Return the answer of the browser that came nearest to a delivery."""
    if any(isinstance(answer, Delivered) for answer in answers):
        return Delivered(key)
    doubtful: list[Answer] = [answer for answer in answers if isinstance(answer, Ambiguous)]
    refused = [answer for answer in answers if isinstance(answer, Refused) and answer is not _NO_SUBSCRIPTION]
    refused.sort(key=lambda answer: answer.permanent)
    return next(iter([*doubtful, *refused]), _NO_SUBSCRIPTION)
