"""The loop in a running installation: `oracle up`, the HTTP API, and the daemon that does the rest by itself.

Budgets hold on an idle machine: other tests wait meanwhile. What other programs took of it is measured: while they
leave a core free nothing is added, otherwise the budget grows by as much as they left too little.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa

from oracle_lib import access, clock, stages
from oracle_lib.cli import home
from oracle_lib.settings import Settings
from oracle_lib.simulate import Academy, load
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, messages, segments
from oracle_lib.tell import lineage
from tests.conftest import FULL, home_folder
from tests.pipelines.installation import Up
from tests.world import install_starters

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]

DELIVERED_SECONDS = 10.0
FRESH_SECONDS = 30.0
# However busy the machine is, what takes longer is broken.
_NEVER_MORE = 90.0
USER = "newcomer"
STRANGERS, EVERY_SECONDS = (60, 4.0) if FULL else (20, 2.0)


class Load:
    """What programs that are not ours take of the machine, from when this is made."""

    def __init__(self, ours: Up, database: psutil.Process) -> None:
        self._ours = ours
        self._database = database
        self._before = self._used()

    def allowed(self, budget: float) -> float:
        """The budget, stretched if others leave less than one core."""
        now, before = self._used(), self._before
        seconds = max(now[0] - before[0], 0.01)
        others = max(now[1] - before[1] - (now[2] - before[2]), 0.0) / seconds
        free = (psutil.cpu_count() or 1) - others
        return min(budget / min(max(free, 0.05), 1.0), _NEVER_MORE)

    def _used(self) -> tuple[float, float, float]:
        """The moment, and the processor seconds used until then by everybody and by us, ended children included."""
        every = psutil.cpu_times()
        ours = {self._ours.process, *self._ours.descendants(), self._database, *self._database.children()}
        mine = 0.0
        for process in ours:
            with suppress(psutil.NoSuchProcess):
                one = process.cpu_times()
                mine += one.user + one.system + one.children_user + one.children_system
        return time.monotonic(), every.user + every.nice + every.system, mine


@dataclass
class Running:
    """A running installation, its database, and a client that may do everything."""

    up: Up
    database: psutil.Process
    store: Store
    client: httpx.Client

    def others(self) -> Load:
        return Load(self.up, self.database)

    def one(self, query: sa.Select) -> Any:
        with self.store.transaction() as conn:
            return conn.execute(query).one_or_none()

    def time(self) -> datetime:
        """What the database's clock shows."""
        with self.store.transaction() as conn:
            return conn.scalars(sa.select(sa.func.clock_timestamp())).one()

    def post(self, user: str, name: str, **metadata: object) -> None:
        body = {"userId": user, "event": name, "metadata": metadata}
        assert self.client.post("/api/oracle/events", json=body).status_code == 202

    def until(self, found: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + _NEVER_MORE
        while not (answer := found()):
            assert time.monotonic() < deadline, self.up.output[-2000:]
            time.sleep(0.1)
        return answer


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A small academy, loaded and worked out, then brought up."""
    with home_folder() as folder:
        yield from _brought_up(folder)


def _brought_up(folder: Path) -> Iterator[Running]:
    settings = Settings(home=folder / "home")
    with home.store(settings) as store:
        now = clock.now()
        load(store, Academy.make(150, 45, now.date(), seed=5), now=now)
        with store.transaction() as conn:
            install_starters(conn, now, holdout=0)
            key = access.create(conn, "test", ["admin"], now, environment=settings.environment).key
        for _, step in stages.react(store, now, settings):
            step()
        up = Up(folder)
        try:
            up.wait_until_ready()
            headers = {"Authorization": f"Bearer {key}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{up.api}", headers=headers, timeout=30) as client:
                database = int((settings.home_path / "postgres" / "postmaster.pid").read_text().split()[0])
                yield Running(up, psutil.Process(database), store, client)
            up.stop()
        finally:
            up.clean()


@pytest.fixture(scope="module")
def signup_seconds(running: Running) -> tuple[float, float]:
    """How long it took from a stranger's first event to their segment, and how long it may have taken."""
    others = running.others()
    running.post(USER, "signup")
    posted = running.time()
    running.until(lambda: running.one(sa.select(segments.c.id).where(segments.c.user_id == USER)))
    return (running.time() - posted).total_seconds(), others.allowed(FRESH_SECONDS)


def test_an_event_makes_its_users_segment_fresh_by_itself(
    running: Running, signup_seconds: tuple[float, float]
) -> None:
    took, allowed = signup_seconds
    print(f"event to segment {took:.1f} s, allowed {allowed:.1f} s")
    assert took < allowed
    assert running.client.get(f"/api/oracle/segments/{USER}").json()["userId"] == USER


@pytest.mark.usefixtures("signup_seconds")
def test_an_approval_is_delivered_within_seconds_and_its_lineage_is_whole(running: Running) -> None:
    action_id = running.until(lambda: _pending(running, USER))

    others = running.others()
    answer = running.client.patch(f"/api/oracle/actions/{action_id}", json={"status": "approved"})
    approved = running.time()
    assert answer.json()["status"] == "approved"
    sent = running.until(lambda: _executed_at(running, action_id))
    took = (sent - approved).total_seconds()
    allowed = others.allowed(DELIVERED_SECONDS)
    print(f"approval to delivery {took:.1f} s, allowed {allowed:.1f} s")
    assert took < allowed
    assert running.one(sa.select(messages.c.id).where(messages.c.action_id == sa.cast(action_id, sa.Uuid)))

    running.post(USER, "lesson_complete", courseId="python-basics", lessonId="python-basics-l01", timeSpent=300)
    running.until(lambda: running.client.get(f"/api/oracle/actions/{action_id}").json()["outcome"]["converted"])
    steps = running.client.get(f"/api/oracle/actions/{action_id}/lineage").json()["steps"]
    assert list(dict.fromkeys(step["kind"] for step in steps)) == list(lineage.LINKS)
    titles = {step["kind"]: step["title"] for step in steps}
    assert titles["event"] == "signup"
    assert titles["rule"] == "welcome, version 1"
    assert titles["outcome"] == "Converted"


@pytest.mark.usefixtures("signup_seconds")
def test_what_is_scheduled_goes_in_its_minute_and_not_before(running: Running) -> None:
    at = running.time() + timedelta(seconds=12)
    others = running.others()
    body = {"userId": USER, "actionType": "dm", "content": "The lesson starts.", "scheduledAt": at.isoformat()}
    made = running.client.post("/api/oracle/actions", json=body)
    action_id = made.json()["id"]
    assert running.client.patch(f"/api/oracle/actions/{action_id}", json={"status": "approved"}).status_code == 200
    late = (running.until(lambda: _executed_at(running, action_id)) - at).total_seconds()
    allowed = others.allowed(DELIVERED_SECONDS)
    print(f"after its moment {late:.1f} s, allowed {allowed:.1f} s")
    assert 0 <= late < allowed


def test_event_to_proposal_p95_is_within_its_budget(running: Running) -> None:
    others = running.others()
    posted, proposed = {}, {}
    for number in range(STRANGERS):
        user = f"stranger-{number}"
        running.post(user, "signup")
        posted[user] = running.time()
        time.sleep(EVERY_SECONDS)
        _note_proposed(running, posted, proposed)
    running.until(lambda: _note_proposed(running, posted, proposed))
    took = sorted((proposed[user] - at).total_seconds() for user, at in posted.items())
    p95, allowed = took[math.ceil(0.95 * len(took)) - 1], others.allowed(FRESH_SECONDS)
    print(f"event to proposal: median {took[len(took) // 2]:.1f} s, p95 {p95:.1f} s, allowed {allowed:.1f} s")
    assert p95 < allowed


def _note_proposed(running: Running, posted: Collection[str], proposed: dict[str, datetime]) -> bool:
    """Note when an action was first seen for each user; say whether there is one for each."""
    with running.store.transaction() as conn:
        waiting = sa.select(actions.c.user_id, sa.func.clock_timestamp()).where(actions.c.user_id.in_(posted))
        for user, moment in conn.execute(waiting):
            proposed.setdefault(user, moment)
    return len(proposed) == len(posted)


def _pending(running: Running, user: str) -> str | None:
    found = running.client.get("/api/oracle/actions", params={"userId": user, "status": "pending"}).json()["actions"]
    return found[0]["id"] if found else None


def _executed_at(running: Running, action_id: str) -> datetime | None:
    row = running.one(sa.select(actions.c.executed_at).where(actions.c.id == sa.cast(action_id, sa.Uuid)))
    return row.executed_at if row else None
