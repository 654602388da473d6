"""Alerts to a team's chat, through an incoming webhook of Slack or of anything that speaks like it.

Promise: at least once. Slack knows no keys; an alert is better seen twice than never.
"""

from datetime import timedelta

import msgspec

from oracle_lib.execute.channels.outward import Outward, Reply, answer_to
from oracle_lib.execute.channels.protocol import Answer, Message


class Slack:
    """Posts alerts to one incoming webhook."""

    name = "slack"
    # Not delivered once, but twice does no harm: a lost answer is tried again.
    idempotent = True
    key_lives: timedelta | None = None
    reaches_people = True

    def __init__(self, url: str, *, sender: str, internal: bool) -> None:
        self._out = Outward(url, secret=url, internal=internal)
        self._sender = sender

    def deliver(self, message: Message, key: str) -> Answer:
        """Post the alert."""
        reply = self._out.post(msgspec.json.encode({"text": self._text(message)}), {})
        return answer_to(reply, key) if isinstance(reply, Reply) else reply

    def close(self) -> None:
        """Close the connections."""
        self._out.close()

    def _text(self, message: Message) -> str:
        heading = " · ".join(_escaped(part) for part in (self._sender, message.subject) if part)
        return f"*{heading}*\n{_escaped(message.content)}" if heading else _escaped(message.content)


def _escaped(text: str) -> str:
    """Take the power from what Slack reads as links and mentions: `<!channel>` in a name calls nobody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
