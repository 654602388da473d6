"""G3, test E4 through Dagster: SIGKILL of the run worker in each step of the daily job, then the run once more.

The worst moment is between a step's commit and Dagster's record of it: the work is done and nobody knows. The small
size kills there, in every step, one after the other; the full size twenty times in each, before and after its commit.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from oracle_lib.execute import approvals
from oracle_lib.execute.approvals import Draft
from oracle_lib.simulate import Academy, load
from oracle_lib.storage import tables
from oracle_lib.storage.engine import Store, psycopg2_url
from tests import world
from tests.conftest import FULL
from tests.guarantees.run_to_be_killed import STEPS
from tests.guarantees.test_g6_sent_once import let_leases_run_out

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 20 if FULL else 1
pytestmark = pytest.mark.timeout(7200 if FULL else 240)


def start(store: Store, home: Path, now: datetime, *where: str) -> subprocess.Popen[bytes]:
    home.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    found = {
        "PYTHONPATH": str(ROOT),
        "DAGSTER_HOME": str(home),
        "ORACLE_DATABASE_URL": store.url,
        "ORACLE_DAGSTER_DATABASE_URL": psycopg2_url(store.url),
    }
    command = [sys.executable, "-m", "tests.guarantees.run_to_be_killed", now.isoformat(), *where]
    with (home / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **found}, stdout=subprocess.PIPE, stderr=log)


def killed(process: subprocess.Popen[bytes], after: float) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"in step\n"
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def finished(process: subprocess.Popen[bytes], home: Path) -> None:
    process.communicate()
    assert process.returncode == 0, (home / "log.txt").read_text()[-3000:]


def prepared(store: Store, now: datetime) -> None:
    """A small academy with the starter rules, and approved messages that are due."""
    load(store, Academy.make(60, 40, now.date(), seed=3), now=now)
    with store.transaction() as conn:
        world.install_starters(conn, now)
        for user in conn.scalars(sa.select(tables.users.c.id).order_by(tables.users.c.id).limit(5)).all():
            draft = Draft(user, "dm", f"Hi {user}")
            approvals.approve(conn, approvals.create(conn, draft, actor="anna", now=now).id, actor="bea", now=now)


def state(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """What every table of the loop states, without ids and moments."""
    given = tables.assignments.c
    a, m, o, change = tables.actions.c, tables.messages.c, tables.outcomes.c, tables.segment_changes.c
    # A segment rule names its cause by the id of a change: what is compared is the change, as ids come as they come.
    moved = sa.func.coalesce(change.field + ">" + change.new, a.cause)
    actions = tables.actions.outerjoin(tables.segment_changes, sa.cast(change.id, sa.Text) == a.cause)
    with store.transaction() as conn:
        asked = {
            "actions": sa.select(a.user_id, a.triggered_by, moved, a.status, a.content).select_from(actions),
            "messages": sa.select(m.user_id, m.payload),
            "outcomes": sa.select(o.user_id, o.kind),
            "assignments": sa.select(given.user_id, given.experiment_id, given.arm, given.converted_at),
            "segment_counts": sa.select(*tables.segment_counts.c),
        }
        found = {name: sorted((tuple(row) for row in conn.execute(query)), key=repr) for name, query in asked.items()}
        return world.state(conn) | found


def test_a_run_killed_in_every_step_ends_as_an_undisturbed_one(
    store: Store, second_store: Store, now: datetime, tmp_path: Path
) -> None:
    rnd = random.Random(7)
    for each in (store, second_store):
        prepared(each, now)
    undisturbed = start(second_store, tmp_path / "undisturbed", now)
    for step in STEPS:
        for number in range(ROUNDS):
            after = rnd.uniform(0, 0.5) if number else 0.0
            killed(start(store, tmp_path / "killed", now, step, "before" if number % 2 else "after"), after)
            let_leases_run_out(store)
    finished(undisturbed, tmp_path / "undisturbed")
    finished(start(store, tmp_path / "killed", now), tmp_path / "killed")
    assert state(store) == state(second_store)
    assert len(state(store)["messages"]) == 5
    assert len(state(store)["actions"]) > 5
