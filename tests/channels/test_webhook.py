"""The product can tell who a message is from and that it has it already; it is told again under the same id."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from standardwebhooks.webhooks import Webhook as Signer

from oracle_lib import clock
from oracle_lib.execute.channels import Ambiguous, Broken, Delivered, Limited, Pause, Refused
from oracle_lib.execute.channels.webhook import Webhook
from tests.channels.conftest import ACTION, KEY, message
from tests.providers import product
from tests.providers.product import Product
from tests.providers.wire import Lost, Says, Stalls, serving

SENDERS = {"dm": "Coach Sarah", "post": "Coach Sarah", "alert": "ORACLE"}


@pytest.fixture
def provider() -> Iterator[Product]:
    with serving(Product()) as made:
        yield made


def webhook(url: str, secret: str = product.SECRET, *, internal: bool = True) -> Webhook:
    return Webhook(url, secret, senders=SENDERS, clock=clock.now, internal=internal)


@pytest.fixture
def channel(provider: Product) -> Iterator[Webhook]:
    with closing(webhook(f"{provider.url}/messages")) as made:
        yield made


def test_the_product_gets_the_approved_bytes_with_who_says_them(channel: Webhook, provider: Product) -> None:
    sent = message(action_type="dm", subject=None, text="Hi Ada")
    assert channel.deliver(sent, KEY) == Delivered(KEY)
    [request] = provider.requests
    assert request.path == "/messages"
    assert provider.shown[KEY] == {
        "type": "oracle.dm",
        "actionId": str(ACTION),
        "sender": "Coach Sarah",
        "data": {"actionType": "dm", "content": "Hi Ada", "subject": None, "userId": "u1"},
    }
    assert sent.payload in request.body


@pytest.mark.parametrize("action_type", SENDERS)
def test_dms_posts_and_alerts_are_told_apart(channel: Webhook, provider: Product, action_type: str) -> None:
    channel.deliver(message(action_type=action_type), KEY)
    assert provider.shown[KEY]["type"] == f"oracle.{action_type}"
    assert provider.shown[KEY]["sender"] == SENDERS[action_type]


def test_any_change_on_the_way_is_noticed(channel: Webhook, provider: Product) -> None:
    channel.deliver(message(action_type="dm"), KEY)
    [request] = provider.requests
    signer = Signer(product.SECRET)
    assert signer.verify(request.body, dict(request.headers))["actionId"] == str(ACTION)
    for changed in ({"webhook-id": "other"}, {"webhook-timestamp": str(int(clock.now().timestamp()) - 30)}):
        with pytest.raises(Exception, match="No matching signature"):
            signer.verify(request.body, {**request.headers, **changed})
    with pytest.raises(Exception, match="No matching signature"):
        signer.verify(request.body.replace(b"u1", b"u2"), dict(request.headers))


@pytest.mark.usefixtures("short_time")
@pytest.mark.parametrize("mishap", [Lost(), Stalls(30), Says(500)], ids=repr)
def test_a_lost_answer_is_told_again_under_the_same_id_and_shown_once(
    channel: Webhook, provider: Product, mishap: Lost | Stalls | Says
) -> None:
    provider.mishaps = [mishap]
    assert isinstance(channel.deliver(message(action_type="dm"), KEY), Ambiguous)
    assert channel.deliver(message(action_type="dm"), KEY) == Delivered(KEY)
    assert list(provider.shown) == [KEY]
    first, second = (json.loads(request.body) for request in provider.requests)
    assert first == second


def test_a_wrong_secret_breaks_the_channel_and_a_refused_message_fails(channel: Webhook, provider: Product) -> None:
    with closing(webhook(provider.url, "whsec_" + "A" * 32)) as stranger:
        assert isinstance(stranger.deliver(message(action_type="dm"), KEY), Broken)
    provider.mishaps = [Says(422, b"unknown user"), Says(429, headers={"Retry-After": "2"}), Says(410)]
    answers = [channel.deliver(message(action_type="dm"), KEY) for _ in range(3)]
    assert answers == [
        Refused("422 unknown user", permanent=True),
        Limited("429", Pause(timedelta(seconds=2))),
        Broken("410"),
    ]


def test_this_machine_is_not_reached_unless_a_setting_allows_it(provider: Product) -> None:
    with closing(webhook("https://127.0.0.1/", internal=False)) as outside:
        assert isinstance(outside.deliver(message(action_type="dm"), KEY), Broken)
    assert provider.requests == []
