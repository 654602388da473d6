"""E-mail through Resend: `POST /emails` under an idempotency key.

Promise: once, while the key is known. Resend forgets keys after 24 h; automatic retries end at 20 h, then a person
decides. The library `resend` opens a connection for every message; this speaks its one route through `outward.py`.
"""

from datetime import timedelta
from uuid import UUID

import msgspec

from oracle_lib.execute.channels import rate_limits
from oracle_lib.execute.channels.letter import Letter, Sender, compose
from oracle_lib.execute.channels.outward import Outward, Reply, answer_to
from oracle_lib.execute.channels.protocol import Ambiguous, Answer, Delivered, Limited, Message, Pause, Refused

# What a day or a month may have is sent: no second is long enough to wait.
_QUOTAS = ("daily_quota_exceeded", "monthly_quota_exceeded")


class Resend:
    """Sends letters by one account of Resend."""

    name = "resend"
    idempotent = True
    key_lives: timedelta | None = timedelta(hours=20)
    reaches_people = True

    def __init__(self, api_key: str, sender: Sender, *, url: str, internal: bool) -> None:
        self._out = Outward(f"{url.rstrip('/')}/emails", secret=api_key, internal=internal)
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._sender = sender

    def deliver(self, message: Message, key: str) -> Answer:
        """Send the message as an e-mail; the same key again answers with the first letter's id."""
        letter = compose(message, self._sender)
        if isinstance(letter, Refused):
            return letter
        reply = self._out.post(_body(letter, message.action_id), {**self._headers, "Idempotency-Key": key})
        return _answer(reply) if isinstance(reply, Reply) else reply

    def close(self) -> None:
        """Close the connections."""
        self._out.close()


class _Said(msgspec.Struct):
    id: str = ""
    name: str = ""


def _answer(reply: Reply) -> Answer:
    said = _read(reply.body)
    if reply.status == 409:
        # In progress: the first request still runs, and the same key will tell its end. Otherwise the key was used for
        # other bytes, which ours never are: somebody else has our key, or a sender or an address changed between two
        # tries. Another key would be a second letter.
        if said.name == "concurrent_idempotent_requests":
            return Ambiguous("409 an earlier request with this key is in progress")
        return Refused(f"bug: 409 {said.name or 'the key was used for another letter'}", permanent=True)
    if reply.status == 429 and said.name in _QUOTAS:
        return Limited(f"429 {said.name}", Pause(rate_limits.LONGEST))
    answer = answer_to(reply, said.id)
    if isinstance(answer, Delivered) and not said.id:
        return Ambiguous(f"{reply.status} without an id")
    return answer


def _read(body: bytes) -> _Said:
    try:
        return msgspec.json.decode(body, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Said()


def _body(letter: Letter, action_id: UUID) -> bytes:
    body: dict[str, object] = {
        "from": str(letter.sender),
        "to": [letter.to],
        "subject": letter.subject,
        "text": letter.text,
        "html": letter.html,
        # Webhooks bring it back, also of a letter whose answer was lost.
        "tags": [{"name": "action", "value": str(action_id)}],
    }
    if letter.reply_to is not None:
        body["reply_to"] = letter.reply_to
    return msgspec.json.encode({**body, "headers": letter.headers} if letter.headers else body)
