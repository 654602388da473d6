"""Answers to letters: posted by providers, of the action that the address names, by people and not by programs."""

import json
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib import clock, stages
from oracle_lib.execute import approvals, executor, records, reply_addresses
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels import installed
from oracle_lib.execute.reply_addresses import ReplyAddresses
from oracle_lib.learn import outcomes as counting
from oracle_lib.learn.webhooks import replies
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, events, users, webhook_inbox
from tests.api.conftest import serving
from tests.providers import resend
from tests.providers.resend import ResendProvider
from tests.providers.webhooks import RESEND_SECRET, resend_event, signed_by_resend
from tests.providers.wire import serving as providing

PASSWORD = "a password of 24 letters"
INBOUND, RESEND = "/api/oracle/webhooks/sendgrid-inbound", "/api/oracle/webhooks/resend"
ADDRESSES = ReplyAddresses("reply", "inbound.academy.example", b"k" * 32)
WORDS = "These are private words."


@pytest.fixture
def provider() -> Iterator[ResendProvider]:
    with providing(ResendProvider()) as made:
        yield made


@pytest.fixture
def set_up(database_url: str, provider: ResendProvider) -> Settings:
    return Settings(
        database_url=database_url,
        environment="production",
        email_channel="resend",
        email_address="hello@academy.example",
        postal_address="1 Main Street",
        public_url="https://oracle.academy.example",
        secret="k" * 32,
        reply_address="reply@inbound.academy.example",
        resend_url=provider.url,
        resend_api_key=resend.KEY,
        resend_webhook_secret=RESEND_SECRET,
        sendgrid_inbound_password=PASSWORD,
        internal_endpoints=True,
        quiet_hours="",
    )


@pytest.fixture
def door(store: Store, set_up: Settings) -> Iterator[httpx.Client]:
    with serving(store, set_up) as address, httpx.Client(base_url=address, auth=("oracle", PASSWORD)) as made:
        yield made


@pytest.fixture
def sent(store: Store, set_up: Settings) -> UUID:
    """A letter to Ada that was delivered."""
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u1", email="ada@example.org"))
        made = approvals.create(conn, Draft("u1", "email", "Hi", subject="Hi"), actor="anna", now=clock.now())
        approvals.approve(conn, made.id, actor="bea", now=clock.now())
    executor.run_due(store, settings=set_up, owner="me")
    return made.id


def post(client: httpx.Client, to: str, headers: str = "", **fields: str) -> httpx.Response:
    envelope = json.dumps({"to": [to], "from": "ada@example.org"})
    lines = f"To: {to}\nFrom: Ada <ada@example.org>\nMessage-ID: <{uuid4()}@example.org>\n{headers}"
    form = {"headers": lines, "envelope": envelope, "subject": "Re: Hi", "text": WORDS, **fields}
    return client.post(INBOUND, files={name: (None, text) for name, text in form.items()})


def received(client: httpx.Client, to: str, email_id: str, event_id: str = "e1") -> httpx.Response:
    event = json.loads(resend_event("received", clock.now(), email_id=email_id))
    event["data"] |= {"from": "Ada <ada@example.org>", "to": [to], "cc": [], "subject": WORDS}
    body = json.dumps(event).encode()
    return client.post(RESEND, content=body, headers=signed_by_resend(event_id, body, clock.now()))


def replied(store: Store, settings: Settings, action_id: UUID) -> bool | None:
    stages.work_in_webhooks(store, clock.now(), settings)
    with store.transaction() as conn:
        counting.attribute(conn, now=clock.now(), settings=settings)
        return records.get(conn, action_id).outcome.replied


def kept(store: Store) -> list[tuple[str, bytes]]:
    with store.transaction() as conn:
        rows = conn.execute(sa.select(webhook_inbox.c.provider, webhook_inbox.c.raw).order_by(webhook_inbox.c.id))
        return [(row.provider, bytes(row.raw)) for row in rows]


def test_a_letter_asks_for_answers_to_an_address_of_its_own(sent: UUID, provider: ResendProvider) -> None:
    assert [letter["reply_to"] for letter in provider.sent] == [ADDRESSES.of(sent)]


def test_an_answer_is_counted_once_and_becomes_an_event_and_none_of_its_words_are_kept(
    store: Store, set_up: Settings, door: httpx.Client, sent: UUID
) -> None:
    assert replied(store, set_up, sent) is None
    answers = [post(door, ADDRESSES.of(sent)) for _ in range(3)]
    assert [(one.status_code, one.json()) for one in answers] == [(200, {"kept": n}) for n in (1, 0, 0)]
    assert replied(store, set_up, sent) is True
    with store.transaction() as conn:
        mine = sa.select(events.c.user_id).where(events.c.event == "email_reply", events.c.source == "oracle")
        assert list(conn.scalars(mine)) == ["u1"]
        outcome = records.get(conn, sent).outcome
    assert (outcome.opened, outcome.bounced) == (None, None)
    [(provider, raw)] = kept(store)
    assert provider == "reply"
    assert raw == json.dumps({"action": str(sent), "machine": False}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "headers",
    [
        "Auto-Submitted: auto-replied",
        "auto-submitted: auto-generated; owner-email=x",
        "X-Autoreply: yes",
        "X-Autorespond: absent",
        "Precedence: bulk",
        "Precedence: auto_reply",
        "Return-Path: <>",
        "Content-Type: multipart/report; report-type=delivery-status",
    ],
)
def test_what_a_program_answers_is_no_answer_and_hides_none(
    store: Store, set_up: Settings, door: httpx.Client, sent: UUID, headers: str
) -> None:
    assert post(door, ADDRESSES.of(sent), headers).json() == {"kept": 1}
    assert replied(store, set_up, sent) is None
    assert post(door, ADDRESSES.of(sent), "Auto-Submitted: no").json() == {"kept": 1}
    assert replied(store, set_up, sent) is True


def test_an_answer_shows_that_a_letter_in_doubt_arrived(
    store: Store, set_up: Settings, door: httpx.Client, sent: UUID
) -> None:
    with store.transaction() as conn:
        doubted = approvals.create(conn, Draft("u1", "email", "Hi", subject="Hi"), actor="anna", now=clock.now())
        for status in ("approved", "executing", "unknown"):
            lost = {"status": status, "channel": "resend", "approved_hash": doubted.content_hash}
            conn.execute(sa.update(actions).where(actions.c.id == doubted.id).values(lost))
    post(door, ADDRESSES.of(doubted.id), "Auto-Submitted: auto-replied")
    stages.work_in_webhooks(store, clock.now(), set_up)
    with store.transaction() as conn:
        assert records.get(conn, doubted.id).status == "executed"


def test_who_only_names_the_letter_that_they_answer_is_understood(store: Store, door: httpx.Client, sent: UUID) -> None:
    with store.transaction() as conn:
        conn.execute(sa.update(actions).values(channel="smtp", provider_id=f"<{sent}@academy.example>"))
    to = "reply@inbound.academy.example"
    assert post(door, to, f"References: <1@x.y> <{sent}@academy.example>").json() == {"kept": 1}
    with store.transaction() as conn:
        conn.execute(sa.delete(webhook_inbox))
        conn.execute(sa.update(actions).values(channel="sendgrid", provider_id="sg-1"))
    assert post(door, to, "In-Reply-To: <sg-1@geopod-ismtpd-1>").json() == {"kept": 1}


def test_mail_that_answers_nothing_and_forged_addresses_leave_nothing_behind(
    store: Store, door: httpx.Client, sent: UUID
) -> None:
    genuine = ADDRESSES.of(sent)
    token = genuine.partition("+")[2].partition("@")[0]
    first, last = ("b" if letter == "a" else "a" for letter in (token[0], token[-1]))
    forged = [
        "reply@inbound.academy.example",
        f"reply+{token[:-1]}{last}@inbound.academy.example",
        f"reply+{first}{token[1:]}@inbound.academy.example",
        f"reply+{token}@elsewhere.example",
        f"reply+{token}a@inbound.academy.example",
        "reply+@inbound.academy.example",
        "reply+é\x00@inbound.academy.example",
        ReplyAddresses("reply", "inbound.academy.example", b"x" * 32).of(sent),
        ADDRESSES.of(uuid4()),
    ]
    assert [post(door, to).json() for to in forged] == [{"kept": 0}] * len(forged)
    assert post(door, "x@y.z", f"In-Reply-To: <{uuid4()}@academy.example>").json() == {"kept": 0}
    assert [received(door, to, "m1", f"e{n}").json() for n, to in enumerate(forged)] == [{"kept": 0}] * len(forged)
    assert kept(store) == []


@pytest.mark.parametrize("auth", [None, ("oracle", "wrong"), ("oracle", PASSWORD[:-1]), (PASSWORD, "")])
def test_without_the_password_nothing_is_taken(
    store: Store, door: httpx.Client, sent: UUID, auth: tuple[str, str] | None
) -> None:
    with httpx.Client(base_url=door.base_url, auth=auth) as stranger:
        assert post(stranger, ADDRESSES.of(sent)).status_code == 401
    assert kept(store) == []


def test_what_is_no_form_at_all_changes_nothing(store: Store, door: httpx.Client) -> None:
    no_forms = (
        (b"\xff\x00", "multipart/form-data"),
        (b"", "text/plain"),
        (b"{}", "multipart/form-data;boundary=x"),
    )
    for content, kind in no_forms:
        answer = door.post(INBOUND, content=content, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()) == (200, {"kept": 0})
    assert kept(store) == []


def test_what_somebody_attached_speaks_for_nobody(store: Store, door: httpx.Client, sent: UUID) -> None:
    inner = (
        b'--b\r\nContent-Disposition: form-data; name="envelope"\r\n\r\n'
        + json.dumps({"to": [ADDRESSES.of(sent)], "from": "ada@example.org"}).encode()
    )
    deep = b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(3000))
    for attached, kind in (
        (inner + b"\r\n--b--", "multipart/form-data; boundary=b"),
        (deep, "multipart/mixed; boundary=b0"),
    ):
        headers = (None, b"To: x@y.z\nMessage-ID: <1@x>")
        answer = door.post(INBOUND, files={"headers": headers, "attachment1": ("a", attached, kind)})
        assert (answer.status_code, answer.json()) == (200, {"kept": 0})
    assert kept(store) == []


def test_a_letter_with_a_large_picture_is_an_answer_and_one_without_end_is_refused(
    store: Store, door: httpx.Client, sent: UUID
) -> None:
    assert post(door, ADDRESSES.of(sent), attachment1="x" * 3_000_000).json() == {"kept": 1}
    assert post(door, ADDRESSES.of(sent), attachment1="x" * 34_000_000).status_code == 413


def test_of_what_resend_received_the_headers_are_asked_for_and_only_people_answer(
    store: Store, set_up: Settings, door: httpx.Client, sent: UUID, provider: ResendProvider
) -> None:
    provider.received |= {"m1": {"Auto-Submitted": "auto-replied"}, "m2": {"From": "Ada <ada@example.org>"}}
    assert received(door, ADDRESSES.of(sent).upper(), "m1", "e1").json() == {"kept": 1}
    assert replied(store, set_up, sent) is None
    for _ in range(2):
        received(door, f"Coach <{ADDRESSES.of(sent)}>", "m2", "e2")
    assert replied(store, set_up, sent) is True
    assert WORDS.encode() not in b"".join(raw for _, raw in kept(store))
    assert b"ada@" not in b"".join(raw for _, raw in kept(store))


def test_an_answer_whose_headers_resend_does_not_tell_is_asked_for_again_and_in_the_end_not_counted(
    store: Store, set_up: Settings, door: httpx.Client, sent: UUID, provider: ResendProvider
) -> None:
    received(door, ADDRESSES.of(sent), "m1")
    now = clock.now()
    stages.work_in_webhooks(store, now, set_up)
    asked = len(provider.requests)
    stages.work_in_webhooks(store, now + timedelta(seconds=10), set_up)
    assert len(provider.requests) == asked
    stages.work_in_webhooks(store, now + timedelta(seconds=20), set_up)
    assert len(provider.requests) == asked + 1
    stages.work_in_webhooks(store, now + replies.PATIENCE + timedelta(hours=1), set_up)
    provider.received["m1"] = {}
    stages.work_in_webhooks(store, now + timedelta(days=3), set_up)
    assert len(provider.requests) == asked + 2
    assert [provider_name for provider_name, _ in kept(store)] == ["resend_received"]


def test_without_the_settings_letters_have_no_such_address_and_nothing_is_taken(
    store: Store, set_up: Settings, sent: UUID
) -> None:
    bare = Settings(**{**set_up.model_dump(), "reply_address": ""})
    with store.transaction() as conn:
        assert reply_addresses.of_installation(conn, bare) is None
    with installed.opened(store, bare), serving(store, bare) as address:
        client = httpx.Client(base_url=address, auth=("oracle", PASSWORD))
        answer = post(client, ADDRESSES.of(sent))
        assert (answer.status_code, "ORACLE_REPLY_ADDRESS" in answer.text) == (404, True)
        assert received(client, ADDRESSES.of(sent), "m1").json() == {"kept": 0}
        client.close()
    assert kept(store) == []


@pytest.mark.parametrize("setting", [{"reply_address": "reply+x@a.b"}, {"sendgrid_inbound_password": "short"}])
def test_a_setting_that_could_not_work_is_refused_at_start(setting: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Settings(**setting)  # type: ignore[arg-type]
