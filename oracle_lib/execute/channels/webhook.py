"""Messages to the host product, which shows them: a signed webhook (Standard Webhooks) for DMs, posts and alerts.

Promise: once, if the receiver keeps `webhook-id` under a unique index and answers 2xx for one it has; the id is the
same on every try. Any other 2xx receiver gets it at least once.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from standardwebhooks import Webhook as Signer

from oracle_lib.execute.channels.outward import Outward, Reply, answer_to
from oracle_lib.execute.channels.protocol import Answer, Message


class Webhook:
    """Posts messages to one URL, signed with one secret."""

    name = "webhook"
    idempotent = True
    key_lives: timedelta | None = None
    reaches_people = True

    def __init__(
        self, url: str, secret: str, *, senders: dict[str, str], clock: Callable[[], datetime], internal: bool
    ) -> None:
        """`senders` are the names that messages are signed with, by action type; `clock` returns UTC."""
        self._out = Outward(url, secret=secret, internal=internal)
        self._signer = Signer(secret)
        self._senders = senders
        self._clock = clock

    def deliver(self, message: Message, key: str) -> Answer:
        """Post the message; the receiver knows it by its key."""
        body = self._body(message)
        now = self._clock()
        headers = {
            "webhook-id": key,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(key, now, body.decode()),
        }
        reply = self._out.post(body, headers)
        return answer_to(reply, key) if isinstance(reply, Reply) else reply

    def close(self) -> None:
        """Close the connections."""
        self._out.close()

    def _body(self, message: Message) -> bytes:
        return msgspec.json.encode(
            {
                "type": f"oracle.{message.action_type}",
                "actionId": str(message.action_id),
                "sender": self._senders[message.action_type],
                # The very bytes that were approved.
                "data": msgspec.Raw(message.payload),
            }
        )
