"""G6 while something else happens: sending is stopped, a user unsubscribes, PostgreSQL or a provider goes away.

Control: an executor that asks the guardrails only when it claims goes on for all it has in hand.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from oracle_lib.decide import guardrails
from oracle_lib.execute import approvals, executor, stops
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels.resend import Resend
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.migrate import migrate
from oracle_lib.storage.tables import actions, suppressions, users
from tests.black_hole import black_hole
from tests.conftest import FULL
from tests.guarantees.test_g6_through_providers import (
    SENDER,
    SETTINGS,
    addressees,
    approved,
    run_to_the_end,
    start,
    states,
)
from tests.providers import resend
from tests.providers.resend import ResendProvider
from tests.providers.wire import Mishap, Request, Says, Stalls, serving

QUEUED = 1_000 if FULL else 150
LETTERS, RESTARTS = (2_000, 10) if FULL else (100, 1)


class Slow(ResendProvider):
    """Resend that takes 20 ms, notes when each request came, and answers none while it is `dark`."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[float] = []
        self.dark = False

    def mishap(self) -> Mishap | None:
        self.came.append(time.monotonic())
        return Stalls(30) if self.dark else super().mishap()

    def take(self, request: Request) -> Says:
        time.sleep(0.02)
        return super().take(request)


@pytest.fixture
def provider() -> Iterator[Slow]:
    with serving(Slow()) as made:
        yield made


def run(store: Store, provider: Slow) -> executor.ExecuteReport:
    with closing(Resend(resend.KEY, SENDER, url=provider.url, internal=True)) as channel:
        return executor.run_due(store, settings=SETTINGS, owner="me", limit=QUEUED, channels={"email": channel})


def started_after(store: Store, provider: Slow, happens: Callable[[], None]) -> int:
    """Send, let something happen after some letters, and return how many were begun once it had been committed."""
    with ThreadPoolExecutor(1) as aside:
        running = aside.submit(run, store, provider)
        while len(provider.came) < SETTINGS.senders:
            time.sleep(0.002)
        happens()
        committed = time.monotonic()
        running.result()
    return sum(moment > committed for moment in provider.came)


def stop(store: Store, now: datetime) -> None:
    with store.transaction() as conn:
        stops.stop(conn, "all", reason="Wrong words", actor="anna", now=now)


def test_after_a_stop_nothing_starts_but_what_senders_have_in_hand(store: Store, now: datetime, provider: Slow) -> None:
    approved(store, now, QUEUED)
    assert started_after(store, provider, lambda: stop(store, now)) <= SETTINGS.senders
    became = states(store)
    assert set(became) == {"executed", "approved"}
    assert became.total() == QUEUED
    with store.transaction() as conn:
        waiting = sa.select(actions.c.reason, actions.c.attempts).where(actions.c.status == "approved").distinct()
        assert {tuple(row) for row in conn.execute(waiting)} <= {("stopped", 0), (None, 0)}


def test_control_who_asks_only_when_claiming_goes_on_after_a_stop(
    store: Store, now: datetime, provider: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(store, now, QUEUED)
    monkeypatch.setattr(guardrails, "check_actions", lambda *_args, **_named: {})
    assert started_after(store, provider, lambda: stop(store, now)) > SETTINGS.senders


def test_who_unsubscribes_gets_nothing_more_of_what_is_queued(store: Store, now: datetime, provider: Slow) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="ada", email="ada@example.org", is_test=True))
        for number in range(QUEUED):
            made = approvals.create(conn, Draft("ada", "email", f"Hi {number}", subject="Hi"), actor="anna", now=now)
            approvals.approve(conn, made.id, actor="bea", now=now)

    def unsubscribe() -> None:
        with store.transaction() as conn:
            conn.execute(sa.insert(suppressions).values(user_id="ada", channel="all", reason="unsubscribed"))

    assert started_after(store, provider, unsubscribe) <= SETTINGS.senders
    assert set(states(store)) == {"executed", "skipped"}


def test_a_provider_that_goes_dark_gets_each_letter_once_after_it_is_back(
    store: Store, now: datetime, provider: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oracle_lib.execute.channels.outward.TOTAL_SECONDS", 0.5)
    approved(store, now, 60)
    threading.Timer(0.1, lambda: setattr(provider, "dark", True)).start()
    threading.Timer(1.5, lambda: setattr(provider, "dark", False)).start()
    with closing(Resend(resend.KEY, SENDER, url=provider.url, internal=True)) as channel:
        time.sleep(0.1)
        run_to_the_end(store, channel)
    assert states(store) == {"executed": 60}
    assert addressees(provider) == {f"u{number}@example.org": 1 for number in range(60)}


@pytest.fixture
def durable(home: Path) -> Iterator[EmbeddedServer]:
    """A PostgreSQL that may be killed: not the session's, and with its durability on."""
    server = EmbeddedServer(home)
    server.start()
    yield server
    server.stop("immediate")


@pytest.mark.timeout(900)
def test_postgresql_restarted_at_once_while_executors_send_loses_and_doubles_nothing(
    durable: EmbeddedServer, now: datetime, provider: Slow
) -> None:
    url = durable.ensure_database("oracle")
    with closing(Store(url)) as store:
        with store.transaction() as conn:
            migrate(conn)
        approved(store, now, LETTERS)
        crew: list[subprocess.Popen[str]] = []
        for number in range(RESTARTS):
            crew += [start(url, provider, f"w{number}-{one}") for one in range(2)]
            sent = len(provider.came)
            while len(provider.came) <= sent + 20 and any(one.poll() is None for one in crew):
                time.sleep(0.01)
            durable.stop("immediate")
            durable.start()
        for one in crew:
            one.communicate(timeout=120)
        store.engine.dispose()
        with closing(Resend(resend.KEY, SENDER, url=provider.url, internal=True)) as channel:
            run_to_the_end(store, channel)
        assert states(store) == {"executed": LETTERS}
    assert addressees(provider) == {f"u{number}@example.org": 1 for number in range(LETTERS)}


class Halfway(Slow):
    """Lets something happen while it has half of the letters and answers the last of them."""

    happens: Callable[[], None]

    def take(self, request: Request) -> Says:
        if len(self.came) == LETTERS // 2:
            self.happens()
        return super().take(request)


@pytest.mark.parametrize("comes_back", [True, False], ids=["comes back", "is cut"])
def test_an_executor_that_loses_sight_of_postgresql_is_overtaken_and_what_it_says_late_changes_nothing(
    store: Store, database_url: str, now: datetime, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    # One sender: then no transaction is open while a provider answers.
    monkeypatch.setenv("ORACLE_SENDERS", "1")
    approved(store, now, LETTERS)
    with serving(Halfway()) as provider, black_hole(database_url) as (hole, through):
        gone = threading.Event()

        def lose_sight() -> None:
            hole.darken()
            gone.set()

        provider.happens = lose_sight
        first = start(through, provider, "first")
        assert gone.wait(60)
        with closing(Resend(resend.KEY, SENDER, url=provider.url, internal=True)) as channel:
            run_to_the_end(store, channel)
        assert states(store) == {"executed": LETTERS}
        assert first.poll() is None
        if comes_back:
            hole.lighten()
        else:
            hole.close()
        said, _ = first.communicate(timeout=60)
        assert addressees(provider) == {f"u{number}@example.org": 1 for number in range(LETTERS)}
    assert ("dropped=" in said) is comes_back
    assert "dropped=0" not in said
    assert states(store) == {"executed": LETTERS}
