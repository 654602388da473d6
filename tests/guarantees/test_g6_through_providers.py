"""G6 as far as providers carry it: Resend delivers each letter once, SendGrid at most once, whatever happens.

Executors are killed, answers get lost, providers are busy or fall over; what SendGrid left in doubt its webhooks settle
(test X3). Controls: a provider without keys that is tried
again, and one that has forgotten its keys, send twice.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from oracle_lib import clock, stages
from oracle_lib.execute import approvals, executor
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels import Channel
from oracle_lib.execute.channels.letter import Sender
from oracle_lib.execute.channels.resend import Resend
from oracle_lib.execute.channels.sendgrid import SendGrid
from oracle_lib.learn.webhooks import inbox
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, users
from tests.conftest import FULL
from tests.providers import resend, sendgrid
from tests.providers.resend import ResendProvider
from tests.providers.sendgrid import SendGridProvider
from tests.providers.webhooks import sendgrid_event
from tests.providers.wire import Lost, Mishap, Provider, Says, Stalls, serving

SETTINGS = Settings(environment="test", public_url="https://oracle.academy.example")
LETTERS, WORKERS, KILLS = (10_000, 4, 50) if FULL else (150, 2, 3)
SEEDS = range(5) if FULL else [5]
_STALL_SECONDS = 30.0 if FULL else 0.3
SENDER = Sender("The academy", "hello@academy.example", "1 Main Street, Springfield")
_ROOT = Path(__file__).parents[2]


class Unreliable(Provider):
    """A bad day: of a hundred requests 3 are too many, 2 fall over, 3 answers get lost and one comes too late."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(7)

    def mishap(self) -> Mishap | None:
        drawn = self.chance.random()
        if drawn < 0.03:
            return Says(429, headers={"Retry-After": "0"})
        if drawn < 0.05:
            return Says(500)
        if drawn < 0.06:
            return Stalls(_STALL_SECONDS)
        return Lost() if drawn < 0.09 else None


class UnreliableResend(Unreliable, ResendProvider):
    """Resend on a bad day."""


class UnreliableSendGrid(Unreliable, SendGridProvider):
    """SendGrid on a bad day."""


class TriedAgain(SendGrid):
    """The naive design: a provider without keys that is asked again when its answer was lost."""

    idempotent = True


class NeverForgets(Resend):
    """The naive design: as if Resend knew its keys for ever."""

    key_lives = None


@pytest.fixture
def bad_resend() -> Iterator[UnreliableResend]:
    with serving(UnreliableResend()) as made:
        yield made


@pytest.fixture
def bad_sendgrid() -> Iterator[UnreliableSendGrid]:
    with serving(UnreliableSendGrid()) as made:
        yield made


def approved(store: Store, now: datetime, count: int) -> None:
    with store.transaction() as conn:
        people = [{"id": f"u{n}", "email": f"u{n}@example.org", "is_test": True} for n in range(count)]
        conn.execute(sa.insert(users), people)
        for person in people:
            made = approvals.create(conn, Draft(str(person["id"]), "email", "Hi", subject="Hi"), actor="anna", now=now)
            approvals.approve(conn, made.id, actor="bea", now=now)


def let_leases_run_out(store: Store) -> None:
    """Make time pass for leases: also for those whose owner still lives, which is harder than waiting."""
    with store.transaction() as conn:
        past = sa.func.now() - timedelta(seconds=1)
        conn.execute(sa.update(actions).where(actions.c.status == "executing").values(lease_until=past))


def run_to_the_end(store: Store, channel: Channel) -> None:
    """Send, with time passing for leases and pauses, until nothing waits."""
    for _ in range(30):
        let_leases_run_out(store)
        with store.transaction() as conn:
            conn.execute(sa.update(actions).values(next_attempt_at=None))
            if executor.waiting(conn) == 0:
                return
        executor.run_due(store, settings=SETTINGS, owner="last", channels={"email": channel})


def states(store: Store) -> Counter[str]:
    with store.transaction() as conn:
        return Counter(conn.execute(sa.select(actions.c.status)).scalars())


def addressees(provider: ResendProvider) -> Counter[str]:
    return Counter(letter["to"][0] for letter in provider.sent)  # type: ignore[index]


def reached(provider: SendGridProvider) -> Counter[str]:
    letters: list[dict[str, Any]] = provider.sent
    return Counter(letter["personalizations"][0]["to"][0]["email"] for letter in letters)


def start(url: str, provider: Provider, owner: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "ORACLE_EMAIL_CHANNEL": "resend" if isinstance(provider, ResendProvider) else "sendgrid",
        "ORACLE_EMAIL_ADDRESS": SENDER.address,
        "ORACLE_EMAIL_SENDER": SENDER.name,
        "ORACLE_PUBLIC_URL": SETTINGS.public_url,
        "ORACLE_POSTAL_ADDRESS": SENDER.postal_address,
        "ORACLE_RESEND_API_KEY": resend.KEY,
        "ORACLE_RESEND_URL": provider.url,
        "ORACLE_SENDGRID_API_KEY": sendgrid.KEY,
        "ORACLE_SENDGRID_URL": provider.url,
        "ORACLE_INTERNAL_ENDPOINTS": "true",
    }
    command = [sys.executable, "-m", "tests.guarantees.executor_to_be_killed", url, owner, "never", "kill"]
    return subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def kill_at_random(store: Store, url: str, provider: Provider, seed: int) -> int:
    """Let several executors work, kill one after the other, and return how many still lived then."""
    pick = random.Random(seed)
    crew = [start(url, provider, f"w{number}") for number in range(WORKERS)]
    kills = 0
    for number in range(KILLS):
        victim = crew.pop(0)
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        time.sleep(pick.uniform(0.1, 0.4))
        kills += victim.poll() is None
        victim.kill()
        victim.communicate()
        if number % 2:
            let_leases_run_out(store)
        crew.append(start(url, provider, f"again{number}"))
    for worker in crew:
        worker.communicate(timeout=600)
    return kills


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_executors_killed_on_a_bad_day_of_resend_send_each_letter_once(
    store: Store, database_url: str, now: datetime, bad_resend: UnreliableResend, seed: int
) -> None:
    approved(store, now, LETTERS)
    kills = kill_at_random(store, database_url, bad_resend, seed)
    with closing(Resend(resend.KEY, SENDER, url=bad_resend.url, internal=True)) as channel:
        run_to_the_end(store, channel)
    assert kills > 0
    assert states(store) == {"executed": LETTERS}
    assert addressees(bad_resend) == {f"u{number}@example.org": 1 for number in range(LETTERS)}
    assert len(bad_resend.requests) > LETTERS
    with store.transaction() as conn:
        assert (conn.scalar(sa.select(sa.func.max(actions.c.attempts))) or 0) <= 10


def test_sendgrid_never_sends_twice_and_what_is_in_doubt_waits_for_a_person(
    store: Store, now: datetime, bad_sendgrid: UnreliableSendGrid
) -> None:
    approved(store, now, LETTERS)
    with closing(SendGrid(sendgrid.KEY, SENDER, url=bad_sendgrid.url, internal=True)) as channel:
        run_to_the_end(store, channel)
    became = states(store)
    assert set(became) == {"executed", "unknown"}
    assert became.total() == LETTERS
    with store.transaction() as conn:
        said = sa.select(users.c.email).join(actions, actions.c.user_id == users.c.id)
        executed = set(conn.execute(said.where(actions.c.status == "executed")).scalars())
    sent = reached(bad_sendgrid)
    assert set(sent.values()) == {1}
    assert executed < set(sent), "some of those in doubt did arrive"


def tell(store: Store, provider: SendGridProvider) -> None:
    """Post what SendGrid tells of each letter that it took."""
    letters: list[dict[str, Any]] = provider.sent
    keys = [letter["personalizations"][0]["custom_args"]["action"] for letter in letters]
    at = clock.now()
    told = [sendgrid_event(f"e-{key}", "delivered", at, action=key) for key in keys]
    with store.transaction() as conn:
        inbox.keep(conn, "sendgrid", inbox.split(json.dumps(told).encode()), at)
    stages.work_in_webhooks(store, at, SETTINGS)


def test_what_sendgrid_took_is_executed_once_its_webhooks_came_and_the_rest_waits_for_a_person(
    store: Store, now: datetime, bad_sendgrid: UnreliableSendGrid
) -> None:
    approved(store, now, LETTERS)
    with closing(SendGrid(sendgrid.KEY, SENDER, url=bad_sendgrid.url, internal=True)) as channel:
        run_to_the_end(store, channel)
        in_doubt = states(store)["unknown"]
        tell(store, bad_sendgrid)
        run_to_the_end(store, channel)
    sent = reached(bad_sendgrid)
    assert set(sent.values()) == {1}
    assert states(store) == {"executed": len(sent), "unknown": LETTERS - len(sent)}
    assert 0 < states(store)["unknown"] < in_doubt, "some of those in doubt did arrive, some did not"
    with store.transaction() as conn:
        said = sa.select(users.c.email).join(actions, actions.c.user_id == users.c.id)
        assert set(conn.execute(said.where(actions.c.status == "executed")).scalars()) == set(sent)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_executors_killed_on_a_bad_day_of_sendgrid_send_no_letter_twice(
    store: Store, database_url: str, now: datetime, bad_sendgrid: UnreliableSendGrid, seed: int
) -> None:
    approved(store, now, LETTERS)
    kills = kill_at_random(store, database_url, bad_sendgrid, seed)
    with closing(SendGrid(sendgrid.KEY, SENDER, url=bad_sendgrid.url, internal=True)) as channel:
        run_to_the_end(store, channel)
    assert kills > 0
    became = states(store)
    assert set(became) == {"executed", "unknown"}
    assert became.total() == LETTERS
    assert set(reached(bad_sendgrid).values()) == {1}


def test_control_a_provider_without_keys_that_is_tried_again_sends_twice(
    store: Store, now: datetime, bad_sendgrid: UnreliableSendGrid
) -> None:
    approved(store, now, LETTERS)
    with closing(TriedAgain(sendgrid.KEY, SENDER, url=bad_sendgrid.url, internal=True)) as channel:
        run_to_the_end(store, channel)
    assert max(reached(bad_sendgrid).values()) > 1


def a_day_after_a_lost_answer(store: Store, now: datetime, provider: ResendProvider, channel: Channel) -> None:
    approved(store, now, 1)
    provider.mishaps = [Lost()]
    executor.run_due(store, settings=SETTINGS, owner="me", channels={"email": channel})
    provider.let_time_pass(timedelta(hours=24))
    with store.transaction() as conn:
        conn.execute(sa.update(actions).values(first_attempt_at=sa.func.now() - timedelta(hours=24)))
    run_to_the_end(store, channel)


def test_what_resend_may_have_forgotten_waits_for_a_person(store: Store, now: datetime) -> None:
    with (
        serving(ResendProvider()) as provider,
        closing(Resend(resend.KEY, SENDER, url=provider.url, internal=True)) as channel,
    ):
        a_day_after_a_lost_answer(store, now, provider, channel)
    assert (states(store), addressees(provider)) == ({"unknown": 1}, {"u0@example.org": 1})


def test_control_who_trusts_a_key_for_ever_sends_twice(store: Store, now: datetime) -> None:
    with (
        serving(ResendProvider()) as provider,
        closing(NeverForgets(resend.KEY, SENDER, url=provider.url, internal=True)) as channel,
    ):
        a_day_after_a_lost_answer(store, now, provider, channel)
    assert (states(store), addressees(provider)) == ({"executed": 1}, {"u0@example.org": 2})
