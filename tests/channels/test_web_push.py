"""Web push: encrypted for one browser, signed by us, and a repeat takes the place of the first.

W2: one of three browsers is gone; the other two get the message, and the one is forgotten.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from cryptography.exceptions import InvalidTag

from oracle_lib import clock
from oracle_lib.errors import Invalid
from oracle_lib.execute import approvals, executor, push_subscriptions, records
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels import Ambiguous, Answer, Delivered, Message, Refused, vapid
from oracle_lib.execute.channels.web_push import LONGEST, WebPush
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import push_subscriptions as kept
from oracle_lib.storage.tables import users
from tests.channels.conftest import ACTION, KEY, message
from tests.providers.push import Browser, PushService, base64url, from_base64url
from tests.providers.wire import Lost, Mishap, Says, Stalls, serving

SETTINGS = Settings(push_channel="webpush", vapid_subject="mailto:ops@academy.example", internal_endpoints=True)
PUBLIC = SETTINGS.model_copy(update={"internal_endpoints": False})


@pytest.fixture
def service() -> Iterator[PushService]:
    with serving(PushService()) as made:
        yield made


@pytest.fixture
def channel(store: Store) -> Iterator[WebPush]:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u1"))
    with closing(WebPush(store, SETTINGS, clock=clock.now)) as made:
        yield made


def subscribed(store: Store, service: PushService, name: str = "laptop", *, user_id: str = "u1") -> Browser:
    browser = service.joined(name)
    keep(store, browser.subscription(service.url), user_id=user_id)
    return browser


def keep(store: Store, subscription: dict[str, object], *, user_id: str = "u1", internal: bool = True) -> UUID:
    keys: dict[str, str] = subscription["keys"]  # type: ignore[assignment]
    with store.transaction() as conn:
        return push_subscriptions.subscribe(
            conn,
            user_id,
            endpoint=str(subscription["endpoint"]),
            **keys,
            expires_at=None,
            now=clock.now(),
            internal=internal,
        ).id


def endpoints(store: Store) -> list[str]:
    with store.transaction() as conn:
        found = conn.scalars(sa.select(kept.c.endpoint).order_by(kept.c.id))
        return [endpoint.rpartition("/")[2] for endpoint in found]


def push(text: str = "Lesson 4 waits", subject: str | None = "Welcome back") -> Message:
    return message(action_type="push", subject=subject, text=text)


def test_only_the_browser_can_read_what_it_is_sent(store: Store, service: PushService, channel: WebPush) -> None:
    browser = subscribed(store, service)
    assert channel.deliver(push("Schöne Grüße 👋"), KEY) == Delivered(KEY)
    assert browser.tray[str(ACTION)] == {
        "title": "Welcome back",
        "body": "Schöne Grüße 👋",
        "actionId": str(ACTION),
        "link": "/",
    }
    [request] = service.requests
    assert "Schöne".encode() not in request.body
    with pytest.raises(InvalidTag):
        Browser("another").opened(request.body)


def test_without_a_subject_the_title_is_the_sender(store: Store, service: PushService, channel: WebPush) -> None:
    browser = subscribed(store, service)
    channel.deliver(push(subject=None), KEY)
    assert browser.tray[str(ACTION)]["title"] == "Coach Sarah"


def test_the_push_service_knows_who_sends_how_long_to_keep_it_and_what_it_replaces(
    store: Store, service: PushService, channel: WebPush
) -> None:
    subscribed(store, service)
    channel.deliver(push(), KEY)
    [request] = service.requests
    claims = service.claims(request)
    assert claims["sub"] == "mailto:ops@academy.example"
    assert 0 < float(str(claims["exp"])) - clock.now().timestamp() < timedelta(hours=24).total_seconds()
    named = ("ttl", "urgency", "topic", "content-encoding")
    assert [request.headers[name] for name in named] == [
        "86400",
        "normal",
        base64.urlsafe_b64encode(ACTION.bytes).rstrip(b"=").decode(),
        "aes128gcm",
    ]
    assert len(request.headers["topic"]) <= 32


def test_no_two_requests_are_encrypted_alike(store: Store, service: PushService, channel: WebPush) -> None:
    subscribed(store, service)
    channel.deliver(push(), KEY)
    channel.deliver(push(), KEY)
    first, second = (request.body for request in service.requests)
    assert (first[:16], first[21:86]) != (second[:16], second[21:86])


def test_w2_one_of_three_browsers_is_gone_and_two_get_the_message(
    store: Store, service: PushService, channel: WebPush
) -> None:
    browsers = [subscribed(store, service, name) for name in ("phone", "laptop", "tablet")]
    for status in (404, 410):
        service.gone = {"laptop": status}
        assert channel.deliver(push(), KEY) == Delivered(KEY)
        assert [len(browser.tray) for browser in browsers] == [1, 0, 1]
        assert endpoints(store) == ["phone", "tablet"]
        keep(store, browsers[1].subscription(service.url))


def test_who_has_no_browser_or_whose_last_one_is_gone_is_refused_for_good(
    store: Store, service: PushService, channel: WebPush
) -> None:
    assert channel.deliver(push(), KEY) == Refused("no_subscription", permanent=True)
    subscribed(store, service)
    service.gone = {"laptop": 410}
    assert channel.deliver(push(), KEY) == Refused("no_subscription", permanent=True)
    assert endpoints(store) == []


def test_after_a_lost_answer_the_repeat_takes_the_place_of_the_first(
    store: Store, service: PushService, channel: WebPush
) -> None:
    browser = subscribed(store, service)
    service.mishaps = [Lost()]
    assert isinstance(channel.deliver(push(), KEY), Ambiguous)
    assert channel.deliver(push(), KEY) == Delivered(KEY)
    assert len(service.requests) == 2
    assert (len(browser.tray), browser.alerts) == (1, 1)
    assert len({request.headers["topic"] for request in service.requests}) == 1
    # Control: under another action's id the user is told twice.
    other = UUID("01890000-0000-7000-8000-000000000002")
    channel.deliver(message(action_type="push", action_id=other), KEY)
    assert (len(browser.tray), browser.alerts) == (2, 2)


@pytest.mark.parametrize(
    ("mishap", "answer"),
    [
        (Says(429, headers={"Retry-After": "60"}), Refused("127.0.0.1: 429", permanent=False)),
        (Says(500), Ambiguous("500")),
        (Says(413), Refused("413", permanent=True)),
        (Says(400, b"bad"), Refused("400 bad", permanent=True)),
        (Says(403), Refused("127.0.0.1: 403", permanent=False)),
        (Says(401), Refused("127.0.0.1: 401", permanent=False)),
        (Says(301, headers={"Location": "http://127.0.0.1:1/"}), Refused("127.0.0.1: 301", permanent=False)),
    ],
)
def test_each_answer_means_what_it_says_and_none_that_the_channel_is_broken(
    store: Store, service: PushService, channel: WebPush, mishap: Mishap, answer: Answer
) -> None:
    subscribed(store, service)
    service.mishaps = [mishap]
    assert channel.deliver(push(), KEY) == answer
    assert endpoints(store) == ["laptop"]


def test_a_push_service_that_stalls_does_not_keep_the_others_waiting(
    store: Store, service: PushService, channel: WebPush, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oracle_lib.execute.channels.web_push._DEVICE_SECONDS", 2.0)
    second, _ = subscribed(store, service, "phone"), subscribed(store, service, "laptop")
    service.mishaps = [Stalls(10)]
    assert channel.deliver(push(), KEY) == Delivered(KEY)
    assert len(second.tray) == 1


def test_a_message_as_long_as_may_be_arrives_and_a_longer_one_is_refused(
    store: Store, service: PushService, channel: WebPush
) -> None:
    browser = subscribed(store, service)
    around = len(json.dumps({"title": "T", "body": "", "actionId": str(ACTION), "link": "/"}))
    assert channel.deliver(push("x" * (LONGEST - around), "T"), KEY) == Delivered(KEY)
    assert len(browser.tray[str(ACTION)]["body"]) == LONGEST - around
    refused = channel.deliver(push("x" * (LONGEST - around + 1), "T"), KEY)
    assert isinstance(refused, Refused)
    assert refused.permanent
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/abc",
        "https://updates.push.services.mozilla.com/wpush/v2/abc",
        "https://web.push.apple.com/abc",
        "https://db5p.notify.windows.com/w/?token=abc",
    ],
)
def test_endpoints_of_the_known_push_services_are_taken(endpoint: str) -> None:
    assert push_subscriptions.check_endpoint(endpoint, internal=False) == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://attacker.example/push",
        "http://fcm.googleapis.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com./x",
        "https://fcm.googleapis.com.attacker.example/x",
        "https://fcm.googleapis.com@attacker.example/x",
        "https://attacker.example/#fcm.googleapis.com",
        "https://attacker.example\\@fcm.googleapis.com/x",
        "https://notify.windows.com.attacker.example/x",
        "https://evilpush.apple.com/x",
        "https://169.254.169.254/latest",
        "https://[::ffff:127.0.0.1]/x",
        "https://2130706433/x",
        "file:///etc/passwd",
        "https://web.push.apple.com/" + "x" * 2000,
        "",
    ],
)
def test_any_other_endpoint_is_refused_when_it_is_kept(endpoint: str) -> None:
    with pytest.raises(Invalid) as refused:
        push_subscriptions.check_endpoint(endpoint, internal=False)
    assert refused.value.field == "endpoint"


def test_an_endpoint_that_got_into_the_table_is_looked_at_again_when_something_is_sent(
    store: Store, service: PushService, channel: WebPush
) -> None:
    subscribed(store, service)
    with closing(WebPush(store, PUBLIC, clock=clock.now)) as strict:
        answer = strict.deliver(push(), KEY)
    assert isinstance(answer, Refused)
    assert answer.permanent
    assert service.requests == []


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"p256dh": base64url(b"\x04" + bytes(64))}, "keys.p256dh"),
        ({"p256dh": base64url(b"\x04" + b"\xff" * 64)}, "keys.p256dh"),
        ({"p256dh": base64url(bytes(33))}, "keys.p256dh"),
        ({"p256dh": "not base64!"}, "keys.p256dh"),
        ({"p256dh": "é"}, "keys.p256dh"),
        ({"auth": base64url(bytes(15))}, "keys.auth"),
        ({"auth": ""}, "keys.auth"),
    ],
)
def test_keys_that_cannot_be_encrypted_to_are_refused(
    store: Store, channel: WebPush, keys: dict[str, str], field: str
) -> None:
    good = Browser("laptop").subscription("https://web.push.apple.com")
    with pytest.raises(Invalid) as refused:
        keep(store, {**good, "keys": {**good["keys"], **keys}})  # type: ignore[dict-item]
    assert refused.value.field == field
    assert endpoints(store) == []


def test_a_user_has_ten_browsers_and_the_oldest_makes_room(
    store: Store, service: PushService, channel: WebPush
) -> None:
    for number in range(12):
        subscribed(store, service, f"b{number}")
    assert endpoints(store) == [f"b{number}" for number in range(2, 12)]


def test_a_browser_that_another_user_signs_in_with_shows_nothing_of_the_first(
    store: Store, service: PushService, channel: WebPush
) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u2"))
    browser = subscribed(store, service)
    keep(store, browser.subscription(service.url), user_id="u2")
    assert channel.deliver(push(), KEY) == Refused("no_subscription", permanent=True)
    assert browser.tray == {}


def test_a_subscription_that_has_expired_is_not_used(store: Store, service: PushService, channel: WebPush) -> None:
    subscribed(store, service)
    with store.transaction() as conn:
        conn.execute(sa.update(kept).values(expires_at=clock.now() - timedelta(seconds=1)))
    assert channel.deliver(push(), KEY) == Refused("no_subscription", permanent=True)


def approved(store: Store, user_id: str) -> UUID:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id=user_id, is_test=True))
        made = approvals.create(conn, Draft(user_id, "push", "Hi"), actor="anna", now=clock.now())
        return approvals.approve(conn, made.id, actor="bea", now=clock.now()).id


def test_the_executor_tries_a_lost_answer_again_and_fails_where_there_is_no_browser(
    store: Store, service: PushService
) -> None:
    settings = SETTINGS.model_copy(update={"environment": "test"})
    nowhere, lost = approved(store, "nobody"), approved(store, "u1")
    browser = subscribed(store, service)
    service.mishaps = [Lost()]
    executor.run_due(store, settings=settings, owner="me")
    with store.transaction() as conn:
        stands = {one: records.get(conn, one) for one in (nowhere, lost)}
    assert (stands[nowhere].status, stands[nowhere].reason) == ("failed", "no_subscription")
    assert stands[lost].status == "approved"
    assert executor.run_one(store, lost, settings=settings, owner="me").status == "executed"
    assert (len(service.requests), len(browser.tray), browser.alerts) == (2, 1, 1)


def test_the_key_is_made_once_and_a_chosen_one_goes_before_it(store: Store) -> None:
    with store.transaction() as conn:
        made = vapid.public_key(conn, SETTINGS)
    with store.transaction() as conn:
        assert vapid.public_key(conn, SETTINGS) == made
        chosen = Settings(vapid_private_key=base64url(bytes(31) + b"\x01"))  # type: ignore[arg-type]
        # The public half of the private key 1 is the generator of P-256.
        assert from_base64url(vapid.public_key(conn, chosen))[1:5].hex() == "6b17d1f2"
    assert len(from_base64url(made)) == 65


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"vapid_subject": ""}, "ORACLE_VAPID_SUBJECT is not set"),
        ({"vapid_subject": "ops@academy.example"}, "ORACLE_VAPID_SUBJECT must be mailto:"),
        ({"vapid_subject": "mailto:a@b.example, c@d.example"}, "ORACLE_VAPID_SUBJECT must be mailto:"),
        ({"vapid_private_key": "short"}, "ORACLE_VAPID_PRIVATE_KEY must be"),
        ({"vapid_private_key": base64url(bytes(32))}, "ORACLE_VAPID_PRIVATE_KEY must be"),
        ({"vapid_private_key": base64url(b"\xff" * 32)}, "ORACLE_VAPID_PRIVATE_KEY must be"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, str], fault: str) -> None:
    given: dict[str, str] = {"vapid_subject": "mailto:ops@academy.example", **values}
    with pytest.raises(Invalid, match=fault):
        vapid.check(Settings(**given))  # type: ignore[arg-type]
