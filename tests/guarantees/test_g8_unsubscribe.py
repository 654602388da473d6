"""G8: every marketing e-mail has a way out that works at once, also a smaller one, and nobody takes it by looking.

Control: a page that acts on GET, as link scanners call it, unsubscribes everybody.
"""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from oracle_api.deps import Edge
from oracle_api.routes import unsubscribe as routes
from oracle_lib.errors import Conflict
from oracle_lib.execute import approvals, executor, unsubscribe_links
from oracle_lib.execute.approvals import Draft
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, audit_log, suppressions, users
from tests.api.conftest import serving as serving_api
from tests.api.conftest import serving_app
from tests.conftest import FULL
from tests.providers import resend
from tests.providers.resend import ResendProvider
from tests.providers.wire import serving

LETTERS, TOKENS, QUEUED = (1_000, 1_000, 100) if FULL else (12, 40, 20)
POSTAL = "1 Main Street, Springfield"
pytestmark = pytest.mark.timeout(900)
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
SCANNERS = (
    {},
    {"Sec-Purpose": "prefetch;prerender", "Purpose": "prefetch"},
    {"User-Agent": "GoogleImageProxy", "Cookie": "session=1"},
)


@pytest.fixture
def provider() -> Iterator[ResendProvider]:
    with serving(ResendProvider()) as made:
        yield made


@pytest.fixture
def settings(database_url: str, provider: ResendProvider) -> Settings:
    return Settings(
        database_url=database_url,
        environment="test",
        email_channel="resend",
        email_address="hello@academy.example",
        resend_api_key=resend.KEY,
        resend_url=provider.url,
        internal_endpoints=True,
        postal_address=POSTAL,
        messages_per_user_per_day=1_000,
        messages_per_user_per_week=None,
    )


@pytest.fixture
def public(store: Store, settings: Settings) -> Iterator[Settings]:
    """The settings with the address at which the API is really served."""
    with serving_api(store, settings) as address:
        yield settings.model_copy(update={"public_url": address})


def people(store: Store, count: int) -> None:
    with store.transaction() as conn:
        rows = [{"id": f"u{n}", "email": f"u{n}@example.org", "is_test": True} for n in range(count)]
        conn.execute(sa.insert(users), rows)


def queue(
    store: Store,
    now: datetime,
    user_id: str,
    text: str = "Hi",
    *,
    kind: str = "marketing",
    topic: str | None = None,
) -> UUID:
    with store.transaction() as conn:
        draft = Draft(user_id, "email", text, subject=text, message_class=kind, topic=topic)
        made = approvals.create(conn, draft, actor="anna", now=now)
        approvals.approve(conn, made.id, actor="bea", now=now)
    return made.id


def sent(store: Store, now: datetime, public: Settings, provider: ResendProvider) -> list[dict[str, Any]]:
    """Send a marketing e-mail to each of many users and return the letters as the provider got them."""
    people(store, LETTERS)
    for number in range(LETTERS):
        queue(store, now, f"u{number}")
    executor.run_due(store, settings=public, owner="me")
    letters: list[dict[str, Any]] = provider.sent
    assert len(letters) == LETTERS
    return letters


def link(letter: dict[str, Any]) -> str:
    [found] = re.findall(r"^<(.+)>$", letter["headers"]["List-Unsubscribe"])
    return str(found)


def suppressed(store: Store) -> list[tuple[str, str, str]]:
    columns = (suppressions.c.user_id, suppressions.c.channel, suppressions.c.reason)
    with store.transaction() as conn:
        return [tuple(row) for row in conn.execute(sa.select(*columns).order_by(*columns))]  # type: ignore[misc]


def states(store: Store) -> Counter[str]:
    with store.transaction() as conn:
        return Counter(conn.execute(sa.select(actions.c.status)).scalars())


def test_every_marketing_email_has_both_headers_the_address_and_a_link_that_works(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    letters = sent(store, now, public, provider)
    with httpx.Client() as anyone:
        for letter in letters:
            assert letter["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
            assert re.fullmatch(rf"{public.public_url}/unsubscribe/[\w-]{{43}}", link(letter))
            assert letter["text"].endswith(f"\n\n{POSTAL}\nUnsubscribe: {link(letter)}")
            assert f'<a href="{link(letter)}">' in letter["html"]
            page = anyone.get(link(letter))
            assert (page.status_code, page.text.count('name="wish"')) == (200, 3)
        assert len({link(letter) for letter in letters}) == LETTERS
        for letter in letters:
            answer = anyone.post(link(letter), data=ONE_CLICK)
            assert (answer.status_code, answer.headers.get("set-cookie")) == (200, None)
    assert suppressed(store) == sorted((f"u{n}", "email", "unsubscribed") for n in range(LETTERS))


def test_transactional_email_has_neither_and_goes_to_who_unsubscribed(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    people(store, 1)
    queue(store, now, "u0")
    executor.run_due(store, settings=public, owner="me")
    httpx.post(link(provider.sent[0]), data=ONE_CLICK)
    queue(store, now, "u0", "Your receipt", kind="transactional")
    executor.run_due(store, settings=public, owner="me")
    [_, receipt] = provider.sent
    assert receipt["text"] == "Your receipt"
    assert "headers" not in receipt


def wrong_tokens(right: str, key: bytes) -> Iterator[str]:
    """Tokens one letter off, cut, prolonged, made up, of another key, and well signed for an action that is not."""
    pick = random.Random(11)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    yield from (right[:-1], right[1:], f"{right}A", f"{right}=", right.swapcase(), "A", "%00", "é" * 43, "A" * 5_000)
    yield unsubscribe_links.token(b"x" * 32, uuid4())
    yield unsubscribe_links.token(key, uuid4())
    for place in range(0, len(right), 1 if FULL else 4):
        yield right[:place] + pick.choice(letters.replace(right[place], "")) + right[place + 1 :]
    for _ in range(TOKENS):
        yield "".join(pick.choices(letters, k=43))


def test_altered_and_unknown_tokens_answer_404_in_one_shape_and_do_nothing(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    people(store, 1)
    queue(store, now, "u0")
    executor.run_due(store, settings=public, owner="me")
    with store.transaction() as conn:
        key = unsubscribe_links.key(conn, public)
    right = link(provider.sent[0]).rpartition("/")[2]
    with httpx.Client(base_url=public.public_url) as anyone:
        answers = {
            (answer.status_code, answer.text, answer.headers["content-type"])
            for token in wrong_tokens(right, key)
            for answer in (anyone.get(f"/unsubscribe/{token}"), anyone.post(f"/unsubscribe/{token}", data=ONE_CLICK))
        }
        assert anyone.get(f"/unsubscribe/{right}").status_code == 200
    [(status, text, kind)] = answers
    assert (status, kind, "u0" in text) == (404, "text/html; charset=utf-8", False)
    assert suppressed(store) == []


def scan(address: str, letters: list[dict[str, Any]]) -> None:
    """Follow every link as programs do that look for harm, or that load pages before somebody opens them."""
    with httpx.Client(base_url=address) as scanner:
        for letter, headers in zip(letters, itertools.cycle(SCANNERS), strict=False):
            path = httpx.URL(link(letter)).path
            assert scanner.get(path, headers=headers).status_code == 200
            assert scanner.head(path, headers=headers).status_code == 200
            for wish in ("stop", "topic", "fewer", "pause", "resume"):
                assert scanner.get(path, params={"wish": wish}, headers=headers).status_code == 200


def test_who_only_looks_unsubscribes_nobody(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    letters = sent(store, now, public, provider)
    scan(public.public_url, letters)
    page = httpx.get(link(letters[0]))
    assert suppressed(store) == []
    assert states(store) == {"executed": LETTERS}
    assert "<script" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; form-action")
    assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("no-referrer", "no-store")


def test_control_a_page_that_acts_on_get_unsubscribes_everybody(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    letters = sent(store, now, public, provider)
    naive = FastAPI()
    naive.state.edge = Edge.of(store, public)
    naive.add_api_route("/unsubscribe/{token}", routes.ask, methods=["GET", "HEAD"])
    with serving_app(naive) as address:
        scan(address, letters)
    assert len(suppressed(store)) == LETTERS


def test_after_one_click_nothing_that_waits_for_the_user_goes_out(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    people(store, 2)
    queue(store, now, "u0")
    executor.run_due(store, settings=public, owner="me")
    for number in range(QUEUED):
        queue(store, now, f"u{number % 2}", f"Queued {number}")
    with store.transaction() as conn:
        draft = Draft("u0", "email", "Pending", subject="Pending")
        pending = approvals.create(conn, draft, actor="anna", now=now)
    way_out = link(provider.sent[0])
    answers = [httpx.post(way_out, data=ONE_CLICK, headers={"Origin": "https://mail.example"}) for _ in range(3)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert "You are unsubscribed" in answers[0].text
    with store.transaction() as conn, pytest.raises(Conflict):
        approvals.approve(conn, pending.id, actor="bea", now=now)
    queue(store, now, "u0", "Written afterwards")
    executor.run_due(store, settings=public, owner="me")
    later = [letter["to"] for letter in provider.sent[1:]]
    assert later == [["u1@example.org"]] * (QUEUED // 2)
    assert states(store) == {"executed": 1 + QUEUED // 2, "cancelled": QUEUED // 2, "rejected": 1, "skipped": 1}
    with store.transaction() as conn:
        moved = sa.select(sa.func.count()).where(action_changes.c.actor == "recipient")
        assert conn.scalar(moved) == QUEUED // 2 + 1
        said = sa.select(audit_log.c.actor, audit_log.c.verb).where(audit_log.c.subject == "user:u0")
        assert conn.execute(said).all() == [("recipient", "user.unsubscribed")]
    assert suppressed(store) == [("u0", "email", "unsubscribed")]


def test_a_pause_ends_by_itself_and_unsubscribing_ends_it_for_good(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    people(store, 1)
    queue(store, now, "u0")
    executor.run_due(store, settings=public, owner="me")
    way_out = link(provider.sent[0])
    assert "You have paused" in httpx.post(way_out, data={"wish": "pause"}).text
    queue(store, now, "u0", "Within the pause")
    executor.run_due(store, settings=public, owner="me")
    assert len(provider.sent) == 1
    with store.transaction() as conn:
        conn.execute(sa.update(suppressions).values(until=sa.func.now() - timedelta(seconds=1)))
    queue(store, now, "u0", "After the pause")
    executor.run_due(store, settings=public, owner="me")
    assert [letter["subject"] for letter in provider.sent] == ["Hi", "After the pause"]
    httpx.post(way_out, data={"wish": "pause"})
    httpx.post(way_out, data=ONE_CLICK)
    assert "You are unsubscribed" in httpx.post(way_out, data={"wish": "pause"}).text
    assert suppressed(store) == [("u0", "email", "unsubscribed")]


def test_the_same_action_has_the_same_letter_at_every_try_and_after_a_restart(
    store: Store, database_url: str, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    people(store, 1)
    queue(store, now, "u0")
    executor.run_due(store, settings=public, owner="me")
    with store.transaction() as conn:
        kept = unsubscribe_links.key(conn, public)
        action_id = conn.scalars(sa.select(actions.c.id)).one()
    other = Store(database_url)
    with other.transaction() as conn:
        assert unsubscribe_links.key(conn, public) == kept
    other.close()
    assert link(provider.sent[0]) == unsubscribe_links.link(public.public_url, kept, action_id)


def test_who_unsubscribed_may_want_it_again_by_the_same_link(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    people(store, 1)
    queue(store, now, "u0")
    executor.run_due(store, settings=public, owner="me")
    way_out = link(provider.sent[0])
    assert "Get these e-mails again" in httpx.post(way_out, data=ONE_CLICK).text
    assert "Get these e-mails again" in httpx.get(way_out).text
    assert suppressed(store) == [("u0", "email", "unsubscribed")]
    assert "You get these e-mails again" in httpx.post(way_out, data={"wish": "resume"}).text
    assert suppressed(store) == []


def test_who_refuses_a_topic_gets_nothing_of_it_that_waits_or_comes_and_all_the_rest(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    people(store, 2)
    queue(store, now, "u0", topic="new courses")
    executor.run_due(store, settings=public, owner="me")
    way_out = link(provider.sent[0])
    assert httpx.get(way_out).text.count("No more about new courses") == 1
    for number in range(QUEUED):
        queue(store, now, f"u{number % 2}", "Of the topic", topic="new courses")
    answers = {httpx.post(way_out, data={"wish": "topic"}).text for _ in range(3)}
    assert len(answers) == 1
    assert "You will get no more e-mails about new courses." in answers.pop()
    queue(store, now, "u0", "Afterwards, of the topic", topic="new courses")
    queue(store, now, "u0", "Of another", topic="events")
    queue(store, now, "u0", "Of none")
    executor.run_due(store, settings=public, owner="me")
    to_them = [letter["subject"] for letter in provider.sent[1:] if letter["to"] == ["u0@example.org"]]
    assert to_them == ["Of another", "Of none"]
    assert states(store) == {"executed": 3 + QUEUED // 2, "cancelled": QUEUED // 2, "skipped": 1}
    assert suppressed(store) == []
    assert "You get these e-mails again" in httpx.post(way_out, data={"wish": "resume"}).text
    queue(store, now, "u0", "Again", topic="new courses")
    executor.run_due(store, settings=public, owner="me")
    assert provider.sent[-1]["subject"] == "Again"


def test_without_a_topic_whoever_refuses_one_is_unsubscribed(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    people(store, 1)
    queue(store, now, "u0")
    executor.run_due(store, settings=public, owner="me")
    way_out = link(provider.sent[0])
    assert 'value="topic"' not in httpx.get(way_out).text
    assert "You are unsubscribed" in httpx.post(way_out, data={"wish": "topic"}).text


def test_who_wants_fewer_gets_one_a_week_of_what_waits_and_comes(
    store: Store, now: datetime, public: Settings, provider: ResendProvider
) -> None:
    people(store, 2)
    for user_id in ("u0", "u1"):
        queue(store, now, user_id)
    executor.run_due(store, settings=public, owner="me")
    way_out = next(link(letter) for letter in provider.sent if letter["to"] == ["u0@example.org"])
    for number in range(QUEUED):
        queue(store, now, f"u{number % 2}", f"Queued {number}")
    answers = {httpx.post(way_out, data={"wish": "fewer"}).text for _ in range(3)}
    assert len(answers) == 1
    assert "You will get one a week at most." in answers.pop()
    queue(store, now, "u0", "Your receipt", kind="transactional")
    executor.run_due(store, settings=public, owner="me")
    to_them = [letter["subject"] for letter in provider.sent[2:] if letter["to"] == ["u0@example.org"]]
    assert to_them == ["Your receipt"]
    assert len(provider.sent) == 2 + QUEUED // 2 + 1
    with store.transaction() as conn:
        conn.execute(sa.update(actions).values(first_attempt_at=sa.func.now() - timedelta(days=8)))
    for number in range(QUEUED):
        queue(store, now, "u0", f"A week later {number}")
    executor.run_due(store, settings=public, owner="me")
    assert [letter["subject"] for letter in provider.sent[2 + QUEUED // 2 + 1 :]] == ["A week later 0"]


@pytest.mark.parametrize(
    ("locale", "accepted", "language", "title"),
    [
        ("de-AT", "es", "de", "Möchten Sie weniger dieser E-Mails oder keine mehr?"),
        (None, "fr;q=0.9, es-MX;q=0.8, en;q=0.1", "es", "¿Quiere recibir menos correos como este, o ninguno?"),
        ("fr", "", "en", "Do you want fewer of these e-mails, or none?"),
    ],
)
def test_the_page_speaks_the_users_language_where_it_has_it(
    store: Store,
    now: datetime,
    public: Settings,
    provider: ResendProvider,
    locale: str | None,
    accepted: str,
    language: str,
    title: str,
) -> None:
    people(store, 1)
    with store.transaction() as conn:
        conn.execute(sa.update(users).values(locale=locale))
    queue(store, now, "u0", topic="<b>Tänze</b>")
    executor.run_due(store, settings=public, owner="me")
    page = httpx.get(link(provider.sent[0]), headers={"Accept-Language": accepted}).text
    assert f'<html lang="{language}">' in page
    assert f"<h1>{title}</h1>" in page
    assert "&lt;b&gt;Tänze&lt;/b&gt;" in page
    assert "<b>" not in page
