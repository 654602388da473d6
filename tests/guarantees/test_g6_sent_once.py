"""G6: nothing approved is lost, nothing is sent twice, nothing unapproved is sent, wherever an executor dies.

Control: an executor that does not claim sends everything as often as there are executors.
"""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from oracle_lib.execute import approvals, executor
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels import Answer, Delivered, Message
from oracle_lib.settings import Settings
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, events, messages, users
from tests.conftest import FULL

SETTINGS = Settings(environment="test")
ACTIONS, WORKERS, KILLS = (10_000, 4, 50) if FULL else (200, 2, 3)
SEEDS = range(5) if FULL else [5]
_ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """Stands for the end of a process in a test that stays in one."""


class WithoutKeys:
    """A provider that delivers whatever it is handed, and counts."""

    name = "letters"
    idempotent = False
    key_lives: timedelta | None = None
    reaches_people = False

    def __init__(self) -> None:
        self.sent: Counter[UUID] = Counter()

    def deliver(self, message: Message, key: str) -> Answer:
        self.sent[message.action_id] += 1
        return Delivered(key)


def approved(store: Store, now: datetime, count: int) -> list[UUID]:
    with store.transaction() as conn:
        conn.execute(sa.insert(users), [{"id": f"u{number}"} for number in range(count)])
        ids = [
            approvals.create(conn, Draft(f"u{number}", "dm", f"Hi {number}"), actor="anna", now=now).id
            for number in range(count)
        ]
        for action_id in ids:
            approvals.approve(conn, action_id, actor="bea", now=now)
        approvals.create(conn, Draft("u0", "dm", "never approved"), actor="anna", now=now)
        return ids


@pytest.fixture(params=range(100 if FULL else 1))
def again_and_again(request: pytest.FixtureRequest) -> int:
    """Run the test that uses this so many times."""
    return int(request.param)


def start(url: str, owner: str, at: str = "never", how: str = "kill") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.guarantees.executor_to_be_killed", url, owner, at, how]
    return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)


def let_leases_run_out(store: Store) -> None:
    """Make time pass for leases: also for those whose owner still lives, which is harder than waiting."""
    with store.transaction() as conn:
        past = sa.func.now() - timedelta(seconds=1)
        conn.execute(sa.update(actions).where(actions.c.status == "executing").values(lease_until=past))


def assert_each_was_sent_once(store: Store, ids: list[UUID]) -> None:
    with store.transaction() as conn:
        states = Counter(conn.execute(sa.select(actions.c.status)).scalars())
        assert states == {"executed": len(ids), "pending": 1}
        assert sorted(conn.execute(sa.select(messages.c.action_id)).scalars()) == sorted(ids)
        delivered = sa.select(action_changes.c.action_id).where(action_changes.c.verb == "delivered")
        assert sorted(conn.execute(delivered).scalars()) == sorted(ids)
        assert conn.scalar(sa.select(sa.func.count()).select_from(events)) == len(ids)
        other = sa.select(actions.c.id).join(messages, messages.c.action_id == actions.c.id)
        changed = sa.or_(messages.c.payload != actions.c.payload, actions.c.sent_hash != actions.c.approved_hash)
        assert conn.execute(other.where(changed)).all() == []


def finish(store: Store) -> None:
    for _ in range(20):
        let_leases_run_out(store)
        with store.transaction() as conn:
            conn.execute(sa.update(actions).values(next_attempt_at=None))
            if executor.waiting(conn) == 0:
                return
        executor.run_due(store, settings=SETTINGS, owner="last")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_executors_killed_at_any_moment_lose_nothing_and_double_nothing(
    store: Store, database_url: str, now: datetime, seed: int
) -> None:
    ids = approved(store, now, ACTIONS)
    pick = random.Random(seed)
    crew = [start(database_url, f"w{number}") for number in range(WORKERS)]
    kills = 0
    for number in range(KILLS):
        victim = crew.pop(0)
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        time.sleep(pick.uniform(0.0, 0.4))
        kills += victim.poll() is None
        victim.kill()
        victim.wait()
        victim.stdout.close()
        if number % 2:
            let_leases_run_out(store)
        crew.append(start(database_url, f"again{number}"))
    for worker in crew:
        worker.communicate(timeout=600)
    finish(store)
    assert kills > 0
    assert_each_was_sent_once(store, ids)
    with store.transaction() as conn:
        assert (conn.scalar(sa.select(sa.func.max(actions.c.attempts))) or 0) <= 10


@pytest.mark.usefixtures("again_and_again")
@pytest.mark.parametrize("step", executor.STEPS)
def test_a_process_killed_at_a_named_line_is_made_good(
    store: Store, database_url: str, now: datetime, step: str
) -> None:
    ids = approved(store, now, 3)
    killed = start(database_url, "killed", at=step)
    out, _ = killed.communicate(timeout=60)
    assert (killed.returncode, out.splitlines()) == (-signal.SIGKILL, ["ready", step])
    with store.transaction() as conn:
        assert executor.waiting(conn) == 0, "the lease still holds"
    finish(store)
    assert_each_was_sent_once(store, ids)


@pytest.mark.usefixtures("again_and_again")
@pytest.mark.parametrize("step", executor.STEPS)
def test_an_exception_at_a_named_line_is_made_good(store: Store, now: datetime, step: str) -> None:
    ids = approved(store, now, 5)

    def fall(name: str) -> None:
        if name == step:
            raise Killed

    with pytest.raises(Killed):
        executor.run_due(store, settings=SETTINGS, owner="falls", step=fall)
    finish(store)
    assert_each_was_sent_once(store, ids)


@pytest.mark.usefixtures("again_and_again")
@pytest.mark.parametrize("step", executor.STEPS)
def test_a_database_that_is_gone_at_a_named_line_is_made_good(
    store: Store, server: EmbeddedServer, database_url: str, now: datetime, step: str
) -> None:
    ids = approved(store, now, 20)
    name = make_url(database_url).database

    def leave(at: str) -> None:
        if at == step:
            with psycopg.connect(server.url("postgres"), autocommit=True) as conn:
                conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    def come_back() -> None:
        with psycopg.connect(server.url("postgres"), autocommit=True) as conn:
            conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    with pytest.raises(OperationalError):
        executor.run_due(store, settings=SETTINGS, owner="falls", step=leave)
    come_back()
    finish(store)
    assert_each_was_sent_once(store, ids)


@pytest.mark.usefixtures("again_and_again")
@pytest.mark.parametrize("step", executor.STEPS[:-1])
def test_one_that_wakes_up_after_its_lease_changes_nothing(
    store: Store, database_url: str, now: datetime, step: str
) -> None:
    ids = approved(store, now, 1)
    sleeper = start(database_url, "sleeper", at=step, how="stop")
    assert sleeper.stdout is not None
    assert [sleeper.stdout.readline().strip() for _ in range(2)] == ["ready", step]
    let_leases_run_out(store)
    assert executor.run_due(store, settings=SETTINGS, owner="other").executed == 1
    sleeper.send_signal(signal.SIGCONT)
    out, _ = sleeper.communicate(timeout=60)
    assert out == "executed=0 dropped=1\n"
    assert_each_was_sent_once(store, ids)


def test_many_executors_send_each_action_once_even_where_no_key_is_known(store: Store, now: datetime) -> None:
    ids = approved(store, now, 100)
    provider = WithoutKeys()

    def work(owner: str) -> None:
        channels = {"dm": provider}
        executor.run_due(store, settings=SETTINGS, owner=owner, limit=7, channels=channels)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert provider.sent == dict.fromkeys(ids, 1)


def test_control_executors_that_do_not_claim_send_everything_twice(store: Store, now: datetime) -> None:
    ids = approved(store, now, 20)
    provider = WithoutKeys()
    both_have_looked = threading.Barrier(2)

    def work() -> None:
        with store.transaction() as conn:
            found = conn.execute(sa.select(actions).where(actions.c.status == "approved")).all()
        both_have_looked.wait()
        for row in found:
            provider.deliver(
                Message(row.id, row.user_id, row.action_type, row.subject, row.content, row.payload), str(row.id)
            )
            with store.transaction() as conn:
                done = sa.update(actions).where(actions.c.id == row.id).values(status="executed")
                conn.execute(done)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert provider.sent == dict.fromkeys(ids, 2)
