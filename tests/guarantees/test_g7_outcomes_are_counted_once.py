"""G7, test W1: each event of a provider counts once, in any order, however often it is told and whatever is killed.

Providers post each event one to five times, shuffled, with forged, stale and unknown ones among them, to an API that is
killed and started again, while events are worked in as the sensor does. Control: a receiver that counts what arrives.
"""

import base64
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from oracle_lib import clock, stages
from oracle_lib.errors import Unknown
from oracle_lib.learn.webhooks import signatures
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, events, outcomes, suppressions, webhook_inbox
from tests.api.conftest import serving, serving_app
from tests.conftest import FULL
from tests.guarantees.provider_told import Event, letters, send
from tests.guarantees.receiver import Receiver, api
from tests.providers.webhooks import RESEND_SECRET, SENDGRID_KEY, signed_by_resend, signed_by_sendgrid

EVENTS, KILLS, SENDERS = (100_000, 10, 8) if FULL else (1_200, 2, 4)
STRANGER = ec.generate_private_key(ec.SECP256R1())
OTHER_SECRET = "whsec_" + base64.b64encode(b"some other 24 bytes .....").decode()
pytestmark = pytest.mark.timeout(3_000)

Sign = Callable[[datetime], Mapping[str, str]]


@dataclass(frozen=True)
class Post:
    """One request of a provider, signed when it is sent, as often as it is sent."""

    provider: str
    body: bytes
    sign: Sign
    genuine: bool = True


@dataclass
class Log:
    """What was answered, by whether the request was genuine; how often no answer came."""

    answers: Counter[tuple[bool, int]] = field(default_factory=Counter)
    unanswered: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, post: Post, status: int) -> None:
        with self.lock:
            self.answers[post.genuine, status] += 1


def by_resend(event: Event, *, secret: str = RESEND_SECRET, late: float = 0, genuine: bool = True) -> Post:
    def sign(now: datetime) -> Mapping[str, str]:
        return signed_by_resend(event.id, event.body, now - timedelta(seconds=late), secret)

    return Post("resend", event.body, sign, genuine)


def by_sendgrid(
    told: Sequence[Event], *, key: ec.EllipticCurvePrivateKey | None = None, late: float = 0, genuine: bool = True
) -> Post:
    body = b"[" + b",".join(event.body for event in told) + b"]"

    def sign(now: datetime) -> Mapping[str, str]:
        at = now - timedelta(seconds=late)
        return signed_by_sendgrid(body, at, key) if key else signed_by_sendgrid(body, at)

    return Post("sendgrid", body, sign, genuine)


def posts(told: Sequence[Event], rnd: random.Random) -> list[Post]:
    """Each event one to five times: Resend's alone, SendGrid's some together; forged and stale ones beside them."""
    copies = [event for event in told for _ in range(rnd.randint(1, 5))]
    rnd.shuffle(copies)
    alone = [by_resend(event) for event in copies if event.provider == "resend"]
    together = [event for event in copies if event.provider == "sendgrid"]
    made, place = alone, 0
    while place < len(together):
        size = rnd.randint(1, 40)
        made.append(by_sendgrid(together[place : place + size]))
        place += size
    for number, event in enumerate(rnd.sample(list(told), len(told) * 3 // 100)):
        other = Event(event.provider, f"false-{event.id}", event.body.replace(b'_event_id": "', b'_event_id": "false-'))
        stale = number % 3 == 0
        late = 301.0 if stale else 0.0
        if event.provider == "resend":
            secret = RESEND_SECRET if stale else OTHER_SECRET
            made.append(by_resend(other, secret=secret, late=late, genuine=False))
        else:
            made.append(by_sendgrid([other], key=None if stale else STRANGER, late=late, genuine=False))
    rnd.shuffle(made)
    return made


def deliver(address: str, made: Sequence[Post], log: Log) -> None:
    """Post as providers do: again until it is answered 2xx, or refused for good."""
    with httpx.Client(base_url=address, timeout=10) as client:
        for post in made:
            while True:
                try:
                    headers = {**post.sign(clock.now()), "Content-Type": "application/json"}
                    url = f"/api/oracle/webhooks/{post.provider}"
                    answer = client.post(url, content=post.body, headers=headers)
                except httpx.HTTPError:
                    log.unanswered += 1
                    time.sleep(0.05)
                    continue
                log.note(post, answer.status_code)
                if answer.status_code < 500:
                    break


def unknown_types(count: int) -> list[Event]:
    """Events that ORACLE does not know: stored, and nothing comes of them."""
    resend = [Event("resend", f"new-{n}", b'{"type": "email.teleported", "data": {}}') for n in range(0, count, 2)]
    items = [(f"new-{n}", json.dumps({"event": "moved", "sg_event_id": f"new-{n}"})) for n in range(1, count, 2)]
    return [*resend, *(Event("sendgrid", event_id, body.encode()) for event_id, body in items)]


def test_every_event_counts_once_in_any_order_through_kills_of_the_receiver(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnd = random.Random(7)
    sent_at = clock.now().replace(microsecond=0) - timedelta(hours=1)
    sent = letters(rnd, EVENTS)
    with store.transaction() as conn:
        send(conn, sent, sent_at)
    told = [event for letter in sent for event in letter.events(sent_at)]
    told += unknown_types(len(told) // 100)
    made = posts(told, rnd)

    monkeypatch.setenv("ORACLE_RESEND_WEBHOOK_SECRET", RESEND_SECRET)
    monkeypatch.setenv("ORACLE_SENDGRID_WEBHOOK_KEY", SENDGRID_KEY)
    receiver, log, over = Receiver(api, database_url), Log(), threading.Event()
    settings = Settings(environment="test")
    started = time.monotonic()

    def work_in() -> None:
        while not over.wait(0.5):
            stages.work_in_webhooks(store, clock.now(), settings)

    worker = threading.Thread(target=work_in)
    worker.start()
    with ThreadPoolExecutor(SENDERS) as senders:
        running = [senders.submit(deliver, receiver.address, made[n::SENDERS], log) for n in range(SENDERS)]
        for number in range(1, KILLS + 1):
            while log.answers.total() < len(made) * number // (KILLS + 1):
                time.sleep(0.005)
            receiver.kill()
            time.sleep(0.1)
            receiver.start()
        for one in running:
            one.result()
    receiver.kill()
    seconds = time.monotonic() - started
    over.set()
    worker.join()
    later = clock.now() + timedelta(minutes=20)
    stages.work_in_webhooks(store, later, settings)
    stages.attribute(store, later, settings)
    print(f"{len(told):,} events in {len(made):,} requests and {seconds:.0f} s; {log.unanswered} without an answer")

    genuine = sum(post.genuine for post in made)
    assert log.answers == {(True, 200): genuine, (False, 401): len(made) - genuine}
    assert log.unanswered > 0
    with store.transaction() as conn:
        kept = list(conn.execute(sa.select(webhook_inbox.c.event_id)).scalars())
        waiting = conn.scalar(sa.select(sa.func.count()).where(webhook_inbox.c.processed_at.is_(None)))
        came = {(row.action_id, row.kind) for row in conn.execute(sa.select(outcomes))}
        stand = {row.id: row.status for row in conn.execute(sa.select(actions.c.id, actions.c.status))}
        left = {row.user_id: row.reason for row in conn.execute(sa.select(suppressions))}
        heard = Counter(conn.execute(sa.select(events.c.event).where(events.c.source == "oracle")).scalars())
    assert sorted(kept) == sorted(event.id for event in told)
    assert waiting == 0
    assert came == {(letter.id, kind) for letter in sent for kind in letter.outcomes}
    assert stand == {letter.id: letter.became for letter in sent}
    assert left == {letter.user: letter.leaves for letter in sent if letter.leaves}
    assert heard == Counter(name for letter in sent for name in letter.own_events)


def test_control_who_counts_what_arrives_counts_wrong() -> None:
    rnd = random.Random(7)
    at = clock.now() - timedelta(hours=1)
    sent = letters(rnd, 400)
    told = [event for letter in sent for event in letter.events(at)]
    arrived: Counter[str] = Counter()

    async def count(request: Request) -> JSONResponse:
        body = await request.json()
        arrived.update(
            one["event"] if "event" in one else one["type"] for one in (body if type(body) is list else [body])
        )
        return JSONResponse({})

    paths = [Route(f"/api/oracle/webhooks/{name}", count, methods=["POST"]) for name in ("resend", "sendgrid")]
    with serving_app(Starlette(routes=paths)) as address:
        deliver(address, posts(told, rnd), Log())
    truth = Counter(kind for letter in sent for kind in letter.outcomes)
    assert arrived["open"] + arrived["email.opened"] > truth["opened"] + truth["machine_opened"]
    assert arrived["spamreport"] + arrived["email.complained"] > truth["complained"]


@pytest.fixture(scope="module")
def signed() -> Settings:
    return Settings(environment="test", resend_webhook_secret=RESEND_SECRET, sendgrid_webhook_key=SENDGRID_KEY)


@pytest.fixture
def client(store: Store, signed: Settings) -> Iterator[httpx.Client]:
    with serving(store, signed) as address, httpx.Client(base_url=address) as made:
        yield made


BODY = b'[{"event": "open", "sg_event_id": "e1"}]'
NAMES = {
    "resend": ("svix-signature", "svix-timestamp"),
    "sendgrid": ("X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"),
}
PROVIDERS = pytest.mark.parametrize("provider", list(NAMES))


def sign(provider: str, at: datetime, body: bytes = BODY) -> dict[str, str]:
    return signed_by_resend("e1", body, at) if provider == "resend" else signed_by_sendgrid(body, at)


def post(client: httpx.Client, provider: str, headers: Mapping[str, str], body: bytes = BODY) -> httpx.Response:
    return client.post(f"/api/oracle/webhooks/{provider}", content=body, headers=headers)


def in_inbox(store: Store) -> int:
    with store.transaction() as conn:
        return conn.scalar(sa.select(sa.func.count()).select_from(webhook_inbox)) or 0


@PROVIDERS
def test_a_signed_event_is_kept_once(client: httpx.Client, store: Store, provider: str) -> None:
    answers = [post(client, provider, sign(provider, clock.now())) for _ in range(3)]
    assert [(one.status_code, one.json()) for one in answers] == [(200, {"kept": 1})] + [(200, {"kept": 0})] * 2
    assert in_inbox(store) == 1


@PROVIDERS
def test_whatever_is_wrong_with_a_signature_is_answered_alike_and_nothing_is_kept(
    client: httpx.Client, store: Store, provider: str
) -> None:
    now = clock.now()
    good = sign(provider, now)
    signature, stamp = NAMES[provider]
    wrong: list[tuple[Mapping[str, str], bytes]] = [
        (good, BODY[:-1] + b" "),
        (good, BODY + b"\n"),
        (good, b""),
        *(({name: value for name, value in good.items() if name != left_out}, BODY) for left_out in good),
        *(
            ({**good, signature: value}, BODY)
            for value in (
                "",
                "v1",
                "v1,",
                "v2," + good[signature][3:],
                "v1,%%%",
                "%%%=",
                "AAAA",
                good[signature][:-4],
            )
        ),
        ({**good, signature: good[signature].replace(",", "")[:-2]}, BODY),
        *(({**good, stamp: value}, BODY) for value in ("", "now", "-1", "1e9", "٣", "9" * 40, good[stamp] + ".0")),
        (sign(provider, now - timedelta(seconds=301)), BODY),
        (sign(provider, now + timedelta(seconds=400)), BODY),
        ({**good, stamp: str(int(good[stamp]) + 1)}, BODY),
    ]
    answers = [post(client, provider, {k: v.encode() for k, v in headers.items()}, body) for headers, body in wrong]  # type: ignore[misc]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert in_inbox(store) == 0


def test_of_several_signatures_one_is_enough(client: httpx.Client) -> None:
    now = clock.now()
    good, other = sign("resend", now), signed_by_resend("e1", BODY, now, OTHER_SECRET)
    both = {**good, "svix-signature": f"v1a,xyz {other['svix-signature']} {good['svix-signature']}"}
    assert post(client, "resend", both).status_code == 200
    assert post(client, "resend", other).status_code == 401


@PROVIDERS
@pytest.mark.parametrize(("seconds", "holds"), [(-301, False), (-299, True), (299, True), (301, False)])
def test_the_window_is_300_seconds_both_ways(now: datetime, provider: str, seconds: int, holds: bool) -> None:
    headers = {name.lower(): value for name, value in sign(provider, now + timedelta(seconds=seconds)).items()}

    def check() -> None:
        if provider == "resend":
            signatures.check_svix(RESEND_SECRET, headers, BODY, now)
        else:
            signatures.check_sendgrid(SENDGRID_KEY, headers, BODY, now)

    if holds:
        check()
    else:
        with pytest.raises(Unknown):
            check()


@PROVIDERS
def test_without_a_key_nothing_is_taken_and_the_setting_is_named(store: Store, provider: str) -> None:
    with serving(store, Settings(environment="test")) as address, httpx.Client(base_url=address) as client:
        answer = post(client, provider, sign(provider, clock.now()))
    assert answer.status_code == 404
    assert f"ORACLE_{provider.upper()}_WEBHOOK_" in answer.json()["error"]["message"]
    assert in_inbox(store) == 0


@PROVIDERS
def test_a_body_is_limited_and_what_a_provider_signs_is_kept_whatever_it_is(
    client: httpx.Client, store: Store, provider: str
) -> None:
    strange = [b"", b"no json", b"{}", b'[{"sg_event_id": "\\u0000"}]', b"[" * 5_000, b'["\xff"]']
    for body in strange:
        assert post(client, provider, sign(provider, clock.now(), body), body).status_code == 200
    large = b" " * 1_048_577
    assert post(client, provider, sign(provider, clock.now(), large), large).status_code == 413
    assert in_inbox(store) == (1 if provider == "resend" else len(strange))
    stages.work_in_webhooks(store, clock.now(), Settings(environment="test"))
