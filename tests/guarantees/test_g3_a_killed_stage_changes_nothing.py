"""G3, test E4: SIGKILL in any stage, then a run: the tables are those of a run that nobody disturbed.

The control consumes its work in one transaction and writes what it derived in the next, as a queue reader would that
acknowledges first: killed in between, it loses what it had taken.
"""

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from oracle_lib.observe import activity
from oracle_lib.storage import queue, tables
from oracle_lib.storage.engine import Store
from tests import world
from tests.conftest import FULL
from tests.guarantees.stage_to_be_killed import STAGES

ROUNDS = 20 if FULL else 1
ROOT = Path(__file__).resolve().parents[2]


def killed_in(store: Store, stage: str, now: datetime, *, after: float | None = None) -> None:
    """Run the stages in a process of their own and kill it in `stage`, before its commit or at a random moment."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.guarantees.stage_to_be_killed", store.url, stage, now.date().isoformat()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    if after is None:
        assert process.stdout.readline() == b"before commit\n"
    else:
        with suppress(subprocess.TimeoutExpired):
            process.wait(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_before_its_commit_is_done_by_the_next_run(
    store: Store, second_store: Store, now: datetime, stage: str
) -> None:
    bodies = list(world.events(800, users=30, until=now, days=95, seed=3))
    for each in (store, second_store):
        with each.transaction() as conn:
            world.post(conn, bodies, now)
    with second_store.transaction() as conn:
        world.run_stages(conn, now.date())
    for _ in range(ROUNDS):
        killed_in(store, stage, now)
    with store.transaction() as conn:
        world.run_stages(conn, now.date())
    with store.transaction() as left, second_store.transaction() as right:
        assert world.state(left) == world.state(right)
        assert left.scalar(sa.select(sa.func.count()).select_from(tables.dirty_user_days)) == 0


def test_kills_at_random_moments_leave_the_tables_of_an_undisturbed_run(
    store: Store, second_store: Store, now: datetime
) -> None:
    rnd = random.Random(5)
    for part in range(3 * ROUNDS):
        bodies = list(world.events(300, users=30, until=now, days=95, seed=part))
        for each in (store, second_store):
            with each.transaction() as conn:
                world.post(conn, bodies, now)
        killed_in(store, "score", now, after=rnd.uniform(0.6, 1.8))
    for each in (store, second_store):
        with each.transaction() as conn:
            world.run_stages(conn, now.date())
    with store.transaction() as left, second_store.transaction() as right:
        assert world.state(left) == world.state(right)


def test_control_a_reader_that_acknowledges_before_it_writes_loses_what_it_took(store: Store, now: datetime) -> None:
    with store.transaction() as conn:
        world.post(conn, list(world.events(300, users=30, until=now, days=5, seed=1)), now)
    with store.transaction() as conn:
        taken = queue.take_days(conn)
    with store.transaction() as conn:
        assert taken > 0
        assert activity.rollup(conn).pairs == 0
        assert conn.scalar(sa.select(sa.func.count()).select_from(tables.user_days)) == 0
