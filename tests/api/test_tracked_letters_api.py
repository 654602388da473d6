"""A tracked letter by a real SMTP server tells who opened it and followed its links, once, and leads nowhere else."""

import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from oracle_lib import clock
from oracle_lib.execute import approvals, executor, records, tracked_letters, unsubscribe_links
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels import Answer, Delivered, Message, Refused
from oracle_lib.execute.channels.letter import Letter, Sender, compose
from oracle_lib.execute.records import Outcome
from oracle_lib.execute.tracked_letters import Named
from oracle_lib.learn import outcomes as counting
from oracle_lib.learn.webhooks.processing import MACHINE_SECONDS, process
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, events, outcomes, users, webhook_inbox
from tests.api.conftest import serving as serving_api
from tests.providers.mail import Mailbox, serving

COURSE, ELSEWHERE = "https://www.academy.example/course?id=1&from=mail", "https://other.example/page"
WORDS = f"Go on: {COURSE}\n\nOr read {ELSEWHERE}"
PERSON = {"User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"}
SCANNER = {"User-Agent": "Barracuda Sentinel (EE)"}


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with serving(Mailbox()) as made:
        yield made


@pytest.fixture
def settings(database_url: str, mailbox: Mailbox) -> Settings:
    return Settings(
        database_url=database_url,
        environment="test",
        email_channel="smtp",
        email_address="hello@academy.example",
        smtp_host="127.0.0.1",
        smtp_port=mailbox.port,
        smtp_security="none",
        internal_endpoints=True,
        postal_address="1 Main Street, Springfield",
        tracking=True,
        tracked_hosts="academy.example, *.academy.example",
    )


@pytest.fixture
def public(store: Store, settings: Settings) -> Iterator[Settings]:
    """The settings with the address at which the API is really served."""
    with serving_api(store, settings) as address:
        yield settings.model_copy(update={"public_url": address})


def queue(store: Store, now: datetime, *, kind: str = "marketing", user: str = "ada") -> UUID:
    with store.transaction() as conn:
        conn.execute(sa.insert(users), {"id": user, "email": f"{user}@example.org", "is_test": True})
        draft = Draft(user, "email", WORDS, subject="Hi", message_class=kind)
        made = approvals.create(conn, draft, actor="anna", now=now)
        approvals.approve(conn, made.id, actor="bea", now=now)
    return made.id


def send(store: Store, settings: Settings) -> None:
    executor.run_due(store, settings=settings, owner="me")


def html(mailbox: Mailbox) -> str:
    body = mailbox.letters[-1].get_body(("html",))
    assert body is not None
    found: str = body.get_content().replace("&amp;", "&")
    return found


def tracked(mailbox: Mailbox) -> tuple[str, str]:
    """Return the addresses of the link and of the picture in the last letter."""
    said = html(mailbox)
    [link], [picture] = re.findall(r'href="([^"]+/t/[^"]+)"', said), re.findall(r'<img src="([^"]+)"', said)
    return link, picture


def set_back(store: Store) -> None:
    """Let the delivery be an hour old: what was asked for since then is late enough to be a person's."""
    with store.transaction() as conn:
        delivered = webhook_inbox.c.event_id.like("%/delivered")
        hour_ago = webhook_inbox.c.received_at - sa.text("interval '1 hour'")
        conn.execute(sa.update(webhook_inbox).where(delivered).values(received_at=hour_ago))


def count(store: Store, settings: Settings) -> Counter[str]:
    """Work in what came and return how many outcomes of each kind there are, and how many of our own events."""
    with store.transaction() as conn:
        conn.execute(sa.update(webhook_inbox).values(due_at=sa.func.now() - sa.text("interval '1 minute'")))
        process(conn, clock.now(), settings=settings, limit=1_000)
        counting.attribute(conn, now=clock.now(), settings=settings)
        found = Counter(conn.execute(sa.select(outcomes.c.kind)).scalars())
        found.update(conn.execute(sa.select(events.c.event).where(events.c.source == "oracle")).scalars())
    return found


def outcome(store: Store, action_id: UUID) -> Outcome:
    with store.transaction() as conn:
        return records.get(conn, action_id).outcome


def kept(store: Store) -> Counter[str | None]:
    with store.transaction() as conn:
        return Counter(conn.execute(sa.select(webhook_inbox.c.event_id)).scalars())


def test_a_link_and_a_picture_count_once_however_often_and_by_whomever_they_are_asked_for(
    store: Store, now: datetime, public: Settings, mailbox: Mailbox
) -> None:
    action_id = queue(store, now)
    send(store, public)
    link, picture = tracked(mailbox)
    assert outcome(store, action_id) == Outcome()
    httpx.get(link, headers=SCANNER)
    httpx.get(link, headers=PERSON)
    assert count(store, public) == {"delivered": 1, "email_sent": 1, "machine_clicked": 1}
    assert outcome(store, action_id) == Outcome(opened=False, clicked=False)
    time.sleep(MACHINE_SECONDS + 0.1)
    with ThreadPoolExecutor(4) as readers:
        answers = list(readers.map(lambda address: httpx.get(address, headers=PERSON), [link, picture] * 10))
    assert {(answer.status_code, answer.headers.get("location")) for answer in answers} == {(302, COURSE), (200, None)}
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    assert {answer.headers["content-type"] for answer in answers if not answer.is_redirect} == {"image/gif"}
    true = {"delivered": 1, "email_sent": 1, "machine_clicked": 1} | dict.fromkeys(
        ("opened", "clicked", "email_open", "email_click"), 1
    )
    assert count(store, public) == true
    assert outcome(store, action_id) == Outcome(opened=True, clicked=True)
    httpx.get(link, headers=PERSON)
    assert count(store, public) == true
    assert len(kept(store)) == 1 + 3 + 1


def test_programs_that_look_are_not_people(store: Store, now: datetime, public: Settings, mailbox: Mailbox) -> None:
    action_id = queue(store, now)
    send(store, public)
    link, picture = tracked(mailbox)
    assert httpx.head(link, headers=PERSON).headers["location"] == COURSE
    assert httpx.head(picture, headers=PERSON).status_code == 200
    assert sum(kept(store).values()) == 1
    httpx.get(link, headers=SCANNER)
    httpx.get(picture, headers={"User-Agent": "Mozilla/5.0"})
    set_back(store)
    assert count(store, public) == {"delivered": 1, "email_sent": 1, "machine_clicked": 1, "machine_opened": 1}
    assert outcome(store, action_id) == Outcome(opened=False, clicked=False)


def test_only_links_to_allowed_hosts_are_tracked_and_the_way_out_never_is(
    store: Store, now: datetime, public: Settings, mailbox: Mailbox
) -> None:
    action_id = queue(store, now)
    send(store, public.model_copy(update={"tracked_hosts": f"*.academy.example, {httpx.URL(public.public_url).host}"}))
    with store.transaction() as conn:
        way_out = unsubscribe_links.link(public.public_url, unsubscribe_links.key(conn, public), action_id)
    said = html(mailbox)
    assert f'<a href="{ELSEWHERE}">{ELSEWHERE}</a>' in said
    assert f'<a href="{way_out}">{way_out}</a>' in said
    assert f'">{COURSE}</a>' in said
    assert said.count("/t/") == 2
    text = mailbox.letters[0].get_body(("plain",))
    assert text is not None
    assert text.get_content().replace("\r\n", "\n").startswith(WORDS)
    assert "/t/" not in text.get_content()


def test_what_nobody_signed_or_nobody_allows_any_more_leads_nowhere(
    store: Store, now: datetime, public: Settings, mailbox: Mailbox
) -> None:
    action_id = queue(store, now)
    send(store, public)
    base, _, token = tracked(mailbox)[0].rpartition("/")
    with store.transaction() as conn:
        key = unsubscribe_links.key(conn, public)
    altered = [
        token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :] for place in range(len(token))
    ]
    foreign = [
        tracked_letters.token(key, Named(action_id, ELSEWHERE)),
        tracked_letters.token(b"x" * 32, Named(action_id, COURSE)),
        unsubscribe_links.token(key, action_id),
        token[:-1],
        f"{token}A",
        f"{token}=",
        "x",
        "%C3%BC",
    ]
    with httpx.Client() as client:
        answers = [client.get(f"{base}/{one}", headers=PERSON) for one in altered + foreign]
    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}
    assert sum(kept(store).values()) == 1
    assert httpx.get(f"{base}/{tracked_letters.token(key, Named(uuid4(), COURSE))}").is_redirect
    assert sum(kept(store).values()) == 1


def test_whether_a_letter_is_measured_is_what_it_was_when_it_was_sent(
    store: Store, now: datetime, public: Settings, mailbox: Mailbox
) -> None:
    off = public.model_copy(update={"tracking": False})
    untracked = queue(store, now, user="ada")
    send(store, off)
    assert "/t/" not in html(mailbox)
    assert "<img" not in html(mailbox)
    receipt = queue(store, now, user="bob", kind="transactional")
    send(store, public)
    assert "/t/" not in html(mailbox)
    tracked_one = queue(store, now, user="eve")
    send(store, public)
    httpx.get(tracked(mailbox)[1], headers=PERSON)
    set_back(store)
    count(store, off)
    assert outcome(store, untracked) == outcome(store, receipt) == Outcome()
    assert outcome(store, tracked_one) == Outcome(opened=True, clicked=False)


class Hesitant:
    """A channel that takes nothing at first, and keeps the letters it was handed."""

    name = "smtp"
    idempotent = False
    key_lives = None
    reaches_people = True

    def __init__(self) -> None:
        self.letters: list[Letter | Refused] = []

    def deliver(self, message: Message, key: str) -> Answer:
        self.letters.append(compose(message, Sender("", "hello@academy.example")))
        return Refused("busy", permanent=False) if len(self.letters) == 1 else Delivered("<1@academy.example>")


def test_a_letter_that_is_tried_again_is_the_same_letter(store: Store, now: datetime, public: Settings) -> None:
    channel = Hesitant()
    action_id = queue(store, now)
    for _ in range(2):
        executor.run_due(store, settings=public, owner="me", channels={"email": channel})
        with store.transaction() as conn:
            conn.execute(sa.update(actions).where(actions.c.id == action_id).values(next_attempt_at=None))
    first, second = channel.letters
    assert first == second
    assert isinstance(first, Letter)
    assert first.html.count("/t/") == 2


def test_who_opens_a_letter_in_doubt_shows_that_it_was_sent(
    store: Store, now: datetime, public: Settings, mailbox: Mailbox
) -> None:
    mailbox.vanishes = True
    action_id = queue(store, now)
    send(store, public)
    assert outcome(store, action_id) == Outcome()
    httpx.get(tracked(mailbox)[1], headers=PERSON)
    with store.transaction() as conn:
        assert records.get(conn, action_id).status == "unknown"
        hour_ago = webhook_inbox.c.received_at - sa.text("interval '1 hour'")
        conn.execute(sa.update(webhook_inbox).values(received_at=hour_ago))
    assert count(store, public)["opened"] == 1
    with store.transaction() as conn:
        assert records.get(conn, action_id).status == "executed"
        moved = sa.select(action_changes.c.actor).where(action_changes.c.verb == "settled")
        assert conn.scalars(moved).all() == ["tracking"]


def test_a_reader_gets_to_the_page_though_the_database_never_answers(settings: Settings) -> None:
    known = settings.model_copy(update={"secret": SecretStr("s" * 32)})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gone = Store(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none")
        with serving_api(gone, known) as address, httpx.Client(base_url=address, headers=PERSON) as client:
            began = time.monotonic()
            link = tracked_letters.token(b"s" * 32, Named(uuid4(), COURSE))
            assert client.get(f"/t/{link}").headers["location"] == COURSE
            assert client.get(f"/t/{tracked_letters.token(b's' * 32, Named(uuid4(), None))}").status_code == 200
            assert time.monotonic() - began < 5
            silent.close()
        gone.close()
