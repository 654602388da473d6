"""Resend delivers a letter once while it knows the key; what it will never take fails, what is broken waits."""

import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from oracle_lib.execute.channels import Ambiguous, Broken, Delivered, Limited, Pause, Refused
from oracle_lib.execute.channels.resend import Resend
from tests.channels.conftest import HTML, KEY, SENDER, TEXT, message
from tests.providers import resend
from tests.providers.resend import ResendProvider
from tests.providers.wire import Lost, Says, Stalls, serving


@pytest.fixture
def provider() -> Iterator[ResendProvider]:
    with serving(ResendProvider()) as made:
        yield made


@pytest.fixture
def channel(provider: ResendProvider) -> Iterator[Resend]:
    made = Resend(resend.KEY, SENDER, url=provider.url, internal=True)
    yield made
    made.close()


def test_the_letter_is_what_resend_asks_for(channel: Resend, provider: ResendProvider) -> None:
    answer = channel.deliver(message(), KEY)
    assert isinstance(answer, Delivered)
    assert len(answer.provider_id) == 36
    assert provider.sent == [
        {
            "from": '"Ada\'s academy" <hello@academy.example>',
            "to": ["ada@example.org"],
            "subject": "Welcome back",
            "text": TEXT,
            "html": HTML,
            "tags": [{"name": "action", "value": str(message().action_id)}],
        }
    ]
    [request] = provider.requests
    assert request.headers["idempotency-key"] == KEY
    assert request.headers["content-type"] == "application/json"


def test_the_same_key_again_is_the_same_letter(channel: Resend, provider: ResendProvider) -> None:
    assert channel.deliver(message(), KEY) == channel.deliver(message(), KEY)
    assert len(provider.sent) == 1
    assert provider.requests[0].body == provider.requests[1].body


@pytest.mark.usefixtures("short_time")
@pytest.mark.parametrize("mishap", [Lost(), Stalls(30), Says(500), Says(503), Says(200, b"<html>")], ids=repr)
def test_a_lost_answer_is_ambiguous_and_the_next_try_delivers_once(
    channel: Resend, provider: ResendProvider, mishap: Lost | Stalls | Says
) -> None:
    provider.mishaps = [mishap]
    assert isinstance(channel.deliver(message(), KEY), Ambiguous)
    assert isinstance(channel.deliver(message(), KEY), Delivered)
    assert len(provider.sent) == 1


def test_too_many_requests_wait_as_long_as_resend_says(channel: Resend, provider: ResendProvider) -> None:
    provider.mishaps = [Says(429, headers={"Retry-After": "7"}), Says(429), Says(429, headers={"Retry-After": "9" * 9})]
    waits = [channel.deliver(message(), KEY) for _ in range(3)]
    assert waits == [
        Limited("429", Pause(timedelta(seconds=7))),
        Limited("429", Pause(timedelta(seconds=1))),
        Limited("429", Pause(timedelta(hours=1))),
    ]


def test_a_request_in_progress_is_asked_again_under_its_key(channel: Resend, provider: ResendProvider) -> None:
    provider.in_progress.add(KEY)
    assert isinstance(channel.deliver(message(), KEY), Ambiguous)


def test_a_key_that_was_used_for_other_words_is_a_defect_and_not_sent_anew(
    channel: Resend, provider: ResendProvider
) -> None:
    channel.deliver(message(), KEY)
    answer = channel.deliver(message(text="other words"), KEY)
    assert answer == Refused("bug: 409 invalid_idempotent_request", permanent=True)
    assert len(provider.sent) == 1


def test_a_refused_key_breaks_the_channel_and_is_not_repeated_in_the_reason(provider: ResendProvider) -> None:
    with closing(Resend("re_wrong", SENDER, url=provider.url, internal=True)) as channel:
        answer = channel.deliver(message(), KEY)
    assert isinstance(answer, Broken)
    assert "invalid_api_key" in answer.reason
    assert "re_wrong" not in answer.reason


@pytest.mark.parametrize("status", [403, 404, 302])
def test_a_wrong_account_or_address_breaks_the_channel(channel: Resend, provider: ResendProvider, status: int) -> None:
    provider.mishaps = [Says(status, headers={"Location": "http://127.0.0.1:1/"})]
    assert isinstance(channel.deliver(message(), KEY), Broken)
    assert len(provider.requests) == 1


def test_what_resend_will_never_take_is_refused_for_good(channel: Resend, provider: ResendProvider) -> None:
    provider.mishaps = [Says(422, b'{"name":"validation_error"}')]
    assert channel.deliver(message(), KEY) == Refused('422 {"name":"validation_error"}', permanent=True)


def test_without_a_connection_nothing_was_sent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        answer = Resend(resend.KEY, SENDER, url=url, internal=True).deliver(message(), KEY)
    assert answer == Refused("no connection: ConnectError", permanent=False)


def test_letters_share_a_connection(channel: Resend, provider: ResendProvider) -> None:
    for number in range(3):
        channel.deliver(message(), f"{KEY}{number}")
    assert len({request.connection for request in provider.requests}) == 1


@pytest.mark.parametrize(
    ("to", "reason"), [(None, "no_address"), (" ", "no_address"), ("a@b.co,c@d.co", "bad_address")]
)
def test_without_an_address_nothing_is_asked(
    channel: Resend, provider: ResendProvider, to: str | None, reason: str
) -> None:
    assert channel.deliver(message(to=to), KEY) == Refused(reason, permanent=True)
    assert provider.requests == []
