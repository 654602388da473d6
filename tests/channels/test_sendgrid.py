"""SendGrid knows no keys: only what certainly was not taken may be tried again."""

import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from oracle_lib.execute.channels import Ambiguous, Broken, Delivered, Limited, Pause, Refused
from oracle_lib.execute.channels.sendgrid import SendGrid
from tests.channels.conftest import HTML, KEY, SENDER, TEXT, UNSUBSCRIBE, message
from tests.providers import sendgrid
from tests.providers.sendgrid import SendGridProvider
from tests.providers.wire import Lost, Says, Stalls, serving


@pytest.fixture
def provider() -> Iterator[SendGridProvider]:
    with serving(SendGridProvider()) as made:
        yield made


@pytest.fixture
def channel(provider: SendGridProvider) -> Iterator[SendGrid]:
    with closing(SendGrid(sendgrid.KEY, SENDER, url=provider.url, internal=True)) as made:
        yield made


def test_the_letter_is_what_sendgrid_asks_for(channel: SendGrid, provider: SendGridProvider) -> None:
    assert channel.deliver(message(), KEY) == Delivered("sg-1")
    assert provider.sent == [
        {
            "personalizations": [{"to": [{"email": "ada@example.org"}], "custom_args": {"action": KEY}}],
            "from": {"email": "hello@academy.example", "name": "Ada's academy"},
            "subject": "Welcome back",
            "content": [{"type": "text/plain", "value": TEXT}, {"type": "text/html", "value": HTML}],
        }
    ]


def test_marketing_carries_its_way_out(channel: SendGrid, provider: SendGridProvider) -> None:
    channel.deliver(message(unsubscribe=UNSUBSCRIBE), KEY)
    assert provider.sent[0]["headers"] == {
        "List-Unsubscribe": f"<{UNSUBSCRIBE}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


@pytest.mark.usefixtures("short_time")
@pytest.mark.parametrize("mishap", [Lost(), Stalls(30), Says(500), Says(503), Says(408)], ids=repr)
def test_a_lost_answer_is_ambiguous_and_the_channel_says_that_it_may_not_be_tried_again(
    channel: SendGrid, provider: SendGridProvider, mishap: Lost | Stalls | Says
) -> None:
    provider.mishaps = [mishap]
    assert isinstance(channel.deliver(message(), KEY), Ambiguous)
    assert len(provider.requests) == 1
    assert not channel.idempotent


def test_control_a_second_try_would_be_a_second_letter(channel: SendGrid, provider: SendGridProvider) -> None:
    provider.mishaps = [Lost()]
    channel.deliver(message(), KEY)
    channel.deliver(message(), KEY)
    assert len(provider.sent) == 2


def test_what_was_certainly_not_taken_is_tried_again(channel: SendGrid, provider: SendGridProvider) -> None:
    provider.mishaps = [Says(429, headers={"Retry-After": "3"})]
    answer = channel.deliver(message(), KEY)
    assert answer == Limited("429", Pause(timedelta(seconds=3)))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with closing(SendGrid(sendgrid.KEY, SENDER, url=url, internal=True)) as nobody:
            assert nobody.deliver(message(), KEY) == Refused("no connection: ConnectError", permanent=False)


def test_a_refused_key_breaks_the_channel_and_a_refused_letter_fails(
    channel: SendGrid, provider: SendGridProvider
) -> None:
    with closing(SendGrid("SG.wrong", SENDER, url=provider.url, internal=True)) as stranger:
        assert isinstance(stranger.deliver(message(), KEY), Broken)
    provider.mishaps = [Says(400, b"bad"), Says(413)]
    refused = [channel.deliver(message(), KEY) for _ in range(2)]
    assert refused == [Refused("400 bad", permanent=True), Refused("413", permanent=True)]


def test_without_an_address_nothing_is_asked(channel: SendGrid, provider: SendGridProvider) -> None:
    assert channel.deliver(message(to=None), KEY) == Refused("no_address", permanent=True)
    assert provider.requests == []
