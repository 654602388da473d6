"""An alert arrives at least once, and what stands in it calls nobody."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from oracle_lib.execute.channels import Ambiguous, Broken, Delivered, Limited, Pause, Refused
from oracle_lib.execute.channels.slack import Slack
from tests.channels.conftest import KEY, message
from tests.providers.slack import PATH, SlackProvider
from tests.providers.wire import Lost, Says, serving


@pytest.fixture
def provider() -> Iterator[SlackProvider]:
    with serving(SlackProvider()) as made:
        yield made


@pytest.fixture
def channel(provider: SlackProvider) -> Iterator[Slack]:
    with closing(Slack(provider.url + PATH, sender="ORACLE", internal=True)) as made:
        yield made


def test_the_alert_is_a_text_with_its_heading(channel: Slack, provider: SlackProvider) -> None:
    alert = message(action_type="alert", subject="Ada is stuck", text="7 days in lesson 3.")
    assert channel.deliver(alert, KEY) == Delivered(KEY)
    assert provider.posted == ["*ORACLE · Ada is stuck*\n7 days in lesson 3."]
    assert provider.requests[0].body == '{"text":"*ORACLE · Ada is stuck*\\n7 days in lesson 3."}'.encode()


def test_a_name_cannot_call_the_whole_team(channel: Slack, provider: SlackProvider) -> None:
    channel.deliver(message(action_type="alert", subject=None, text="<!channel> & <http://x|y>"), KEY)
    assert provider.posted == ["*ORACLE*\n&lt;!channel&gt; &amp; &lt;http://x|y&gt;"]


@pytest.mark.parametrize("mishap", [Lost(), Says(500)], ids=repr)
def test_a_lost_answer_may_be_tried_again(channel: Slack, provider: SlackProvider, mishap: Lost | Says) -> None:
    provider.mishaps = [mishap]
    assert isinstance(channel.deliver(message(action_type="alert"), KEY), Ambiguous)
    assert channel.idempotent


def test_a_webhook_that_is_gone_breaks_the_channel_without_naming_it(provider: SlackProvider) -> None:
    with closing(Slack(f"{provider.url}/services/gone", sender="ORACLE", internal=True)) as gone:
        assert gone.deliver(message(action_type="alert"), KEY) == Broken("404 no_service")


def test_a_refused_alert_fails_and_a_busy_slack_waits(channel: Slack, provider: SlackProvider) -> None:
    provider.mishaps = [Says(400, b"invalid_payload"), Says(429, headers={"Retry-After": "30"})]
    answers = [channel.deliver(message(action_type="alert"), KEY) for _ in range(2)]
    assert answers == [
        Refused("400 invalid_payload", permanent=True),
        Limited("429", Pause(timedelta(seconds=30))),
    ]
