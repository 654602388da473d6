"""Approved e-mails until a provider has them: over real HTTP, to one that answers in 20 ms, by one process and by more.

The database's share is what PostgreSQL itself says it spent executing statements (`pg_stat_database.active_time`).
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import sqlalchemy as sa

from bench.academy import database
from bench.result import Result, Say, timed
from bench.service import await_port, free_port
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store

_ANSWERS_AFTER = 0.02
_LETTERS_A_PROCESS = 1_500
_PROCESSES = (1, 2, 4)
_USERS = sa.text(
    "INSERT INTO users (id, email) SELECT 'u' || n, 'u' || n || '@example.org' FROM generate_series(1, :n) AS n"
)
_PROPOSE = sa.text(
    """
    INSERT INTO actions (user_id, action_type, subject, content, content_hash, triggered_by, payload)
    SELECT 'u' || n, 'email', 'Hi', 'Hi', encode(sha256(said), 'hex'), 'manual', said
      FROM generate_series(1, :n) AS n,
           convert_to('{"actionType":"email","content":"Hi","subject":"Hi","userId":"u' || n || '"}', 'UTF8') AS said
    """
)
_APPROVE = sa.text("UPDATE actions SET status = 'approved', approved_hash = content_hash")
_ACTIVE = sa.text("SELECT active_time FROM pg_stat_database WHERE datname = current_database()")


def measure(server: EmbeddedServer, *, say: Say) -> list[Result]:
    """Send with one, two and four processes, each time as many letters a process in a fresh database."""
    results: list[Result] = []
    with _provider() as url:
        for processes in _PROCESSES:
            count = processes * _LETTERS_A_PROCESS
            with database(server, "sending") as store:
                rate, processor, postgres = _send(store, url, processes, count, say)
            name = f"sending, {processes} {'process' if processes == 1 else 'processes'}, 20 ms a letter"
            results.append(Result(name, rate, "letters/s", 200 if processes == 1 else None, at_least=True))
            if processes == 1:
                results.append(Result("sending, an executor's processor time a letter", processor, "ms"))
                results.append(Result("sending, PostgreSQL's time a letter", postgres, "ms"))
    return results


def _send(store: Store, url: str, processes: int, count: int, say: Say) -> tuple[float, float, float]:
    """Return letters a second, and the milliseconds of processors and of PostgreSQL that each took."""
    with store.transaction() as conn:
        conn.execute(_USERS, {"n": count})
        conn.execute(_PROPOSE, {"n": count})
        conn.execute(_APPROVE)
    before = _active(store)
    with ExitStack() as running:
        executors = [running.enter_context(_executor(store, url, number)) for number in range(processes)]
        for one in executors:
            _said(one)
        with timed(say, f"{count:,} letters by {processes}") as watch:
            for one in executors:
                _let_go(one)
            said = [_said(one).split() for one in executors]
    sent, busy = sum(int(one[0]) for one in said), sum(float(one[1]) for one in said)
    if sent != count:
        raise RuntimeError(f"{sent} of {count} letters were sent.")
    return count / watch.seconds, 1000 * busy / count, (_active(store) - before) / count


def _let_go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _active(store: Store) -> float:
    # A backend reports its figures when it ends, or at most a second after a transaction.
    time.sleep(1.5)
    with store.transaction() as conn:
        conn.execute(sa.select(sa.func.pg_stat_clear_snapshot()))
        return float(conn.scalars(_ACTIVE).one())


@contextmanager
def _executor(store: Store, url: str, number: int) -> Iterator["subprocess.Popen[str]"]:
    environment = {
        **os.environ,
        "ORACLE_EMAIL_CHANNEL": "resend",
        "ORACLE_EMAIL_ADDRESS": "hello@academy.example",
        "ORACLE_POSTAL_ADDRESS": "1 Main Street, Springfield",
        "ORACLE_PUBLIC_URL": "https://oracle.academy.example",
        "ORACLE_RESEND_API_KEY": "re_bench",
        "ORACLE_RESEND_URL": url,
        "ORACLE_INTERNAL_ENDPOINTS": "true",
        "ORACLE_QUIET_HOURS": "",
    }
    command = [sys.executable, "-m", "bench.one_executor", store.url, f"bench{number}"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made:
        yield made


@contextmanager
def _provider() -> Iterator[str]:
    port = free_port()
    made = subprocess.Popen([sys.executable, "-m", "bench.slow_provider", str(port), str(_ANSWERS_AFTER)])
    try:
        await_port(made, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        made.terminate()
        made.wait(30)
