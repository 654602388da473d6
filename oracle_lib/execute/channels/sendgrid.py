"""E-mail through SendGrid: `POST /v3/mail/send`, which knows no idempotency keys.

Promise: at most once by itself. Only what certainly was not taken (429, no connection) is tried again; a lost answer
leaves the action `unknown` for a webhook or a person. The library `sendgrid` has no time-out and keeps no connections;
this speaks its one route through `outward.py`.
"""

from datetime import timedelta

import msgspec

from oracle_lib.execute.channels.letter import Letter, Sender, compose, one_line
from oracle_lib.execute.channels.outward import Outward, Reply, answer_to
from oracle_lib.execute.channels.protocol import Answer, Message, Refused


class SendGrid:
    """Sends letters by one account of SendGrid."""

    name = "sendgrid"
    idempotent = False
    key_lives: timedelta | None = None
    reaches_people = True

    def __init__(self, api_key: str, sender: Sender, *, url: str, internal: bool) -> None:
        self._out = Outward(f"{url.rstrip('/')}/v3/mail/send", secret=api_key, internal=internal)
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._sender = sender

    def deliver(self, message: Message, key: str) -> Answer:
        """Send the message as an e-mail. The key goes along as `action`, which SendGrid's webhooks bring back."""
        letter = compose(message, self._sender)
        if isinstance(letter, Refused):
            return letter
        reply = self._out.post(_body(letter, key), self._headers)
        return answer_to(reply, reply.headers.get("x-message-id") or key) if isinstance(reply, Reply) else reply

    def close(self) -> None:
        """Close the connections."""
        self._out.close()


def _body(letter: Letter, key: str) -> bytes:
    sender = {"email": letter.sender.address}
    if name := one_line(letter.sender.name):
        sender["name"] = name
    body: dict[str, object] = {
        "personalizations": [{"to": [{"email": letter.to}], "custom_args": {"action": key}}],
        "from": sender,
        "subject": letter.subject,
        "content": [
            {"type": "text/plain", "value": letter.text},
            {"type": "text/html", "value": letter.html},
        ],
    }
    if letter.reply_to is not None:
        body["reply_to"] = {"email": letter.reply_to}
    return msgspec.json.encode({**body, "headers": letter.headers} if letter.headers else body)
