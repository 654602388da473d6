"""What the tests of channels share: a message, a sender and the key it is sent under."""

from uuid import UUID

import pytest

from oracle_lib.decide import content
from oracle_lib.execute.channels import Message, Tracking
from oracle_lib.execute.channels.letter import Sender

ACTION = UUID("01890000-0000-7000-8000-000000000001")
KEY = f"oracle/test/action/{ACTION}"
SENDER = Sender("Ada's academy", "hello@academy.example", "1 Main Street, Springfield")
UNSUBSCRIBE = f"https://oracle.academy.example/unsubscribe/{'x' * 43}"
TEXT = "Hi Ada,\n\ngo on: https://academy.example/next?a=1&b=2.\nYours & <ours>"
HTML = (
    '<!doctype html><html><head><meta charset="utf-8"></head><body><p>Hi Ada,</p><p>go on: '
    '<a href="https://academy.example/next?a=1&amp;b=2">https://academy.example/next?a=1&amp;b=2</a>.<br>'
    "Yours &amp; &lt;ours&gt;</p></body></html>"
)


def message(
    *,
    action_type: str = "email",
    subject: str | None = "Welcome back",
    text: str = TEXT,
    to: str | None = "ada@example.org",
    action_id: UUID = ACTION,
    unsubscribe: str | None = None,
    tracking: Tracking | None = None,
    preheader: str | None = None,
    locale: str | None = None,
) -> Message:
    payload = content.payload(user_id="u1", action_type=action_type, subject=subject, content=text, preheader=preheader)
    return Message(action_id, "u1", action_type, subject, text, payload, to, unsubscribe, tracking, preheader, locale)


@pytest.fixture
def short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the 20 s that a request may take half a second."""
    monkeypatch.setattr("oracle_lib.execute.channels.outward.TOTAL_SECONDS", 0.5)
    monkeypatch.setattr("oracle_lib.execute.channels.smtp.TOTAL_SECONDS", 0.5)
