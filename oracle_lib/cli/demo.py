"""`oracle demo`: a simulated academy in a home of its own, taken once around the loop through Dagster.

The first start loads three months of an academy, runs the daily and weekly jobs, approves some of what they propose and
waits for deliveries and what comes of them. Later starts go on with the same academy. While it stays up its people go
on living: they do what they would have done, and answer the messages they get, a day of waiting in ten seconds.

It always works on an embedded database under `$ORACLE_HOME/demo`, whatever ORACLE_DATABASE_URL says.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from oracle_lib import access, clock
from oracle_lib.cli import home, services
from oracle_lib.cli.dagster_client import DagsterClient, days, week
from oracle_lib.cli.up import Installation, Say, installation
from oracle_lib.decide import rules_engine
from oracle_lib.errors import Conflict
from oracle_lib.execute import approvals
from oracle_lib.observe.ingest import ingest
from oracle_lib.settings import Settings
from oracle_lib.simulate import Academy, delivered, load, respond
from oracle_lib.simulate.loading import DOOR
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, events, messages, outcomes, predictions, segments, users

ACADEMY_DAYS = 90
SEED = 7
# One run of so many days: enough for the plots to say something, quick enough to wait for.
HISTORY_DAYS = 21
APPROVED = 25
_A_DAY_IN_TEN_SECONDS = 8640.0
_RUN_SECONDS = 300.0
_DELIVERY_SECONDS = 30.0
_LIVE_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class State:
    """What a later start needs to know: the academy's arguments, a key to try the API with, and how far it got."""

    users: int
    end: str
    key: str
    ready: bool

    def academy(self) -> Academy:
        """Draw the academy; the same arguments give the same people."""
        return Academy.make(self.users, ACADEMY_DAYS, date.fromisoformat(self.end), SEED)


def settings_of(settings: Settings) -> Settings:
    """Return the settings of the demo: a home and a database of its own, and no waiting for simulated nights."""
    changed = {"home": settings.home_path / "demo", "database_url": None, "dagster_database_url": None}
    return settings.model_copy(update={**changed, "quiet_hours": ""})


def delete(settings: Settings) -> None:
    """Delete the demo's home. Raises `Conflict` while it is up."""
    if home.is_up(settings):
        raise Conflict("The demo is up: stop it with Ctrl-C first.")
    from oracle_lib.storage.embedded import EmbeddedServer

    EmbeddedServer(settings.home_path).stop("immediate")
    shutil.rmtree(settings.home_path)


def run(settings: Settings, user_count: int, say: Say) -> None:
    """Bring the demo up, once around the loop if it has not been, and stay until interrupted."""
    started = time.monotonic()

    def tell(line: str) -> None:
        say(f"[{time.monotonic() - started:5.1f} s] {line}")

    with installation(settings, tell) as ours:
        state = _read(settings) or _begin(settings, ours.store, user_count)
        academy = state.academy()
        ours.start(ours.api, ours.webserver)
        if state.ready:
            tell(f"Going on with the academy of {state.users:,} users")
            _live(ours.store, academy, clock.now())
            ours.start(ours.daemon)
        else:
            _go_round(ours, academy, tell)
            _write(settings, State(state.users, state.end, state.key, ready=True))
        ours.wait(ours.api, ours.webserver, ours.daemon)
        _print_state(ours, state, tell)
        ours.supervisor.watch(_every(_LIVE_EVERY_SECONDS, lambda: _live(ours.store, academy, clock.now())))


def _go_round(ours: Installation, academy: Academy, tell: Say) -> None:
    """Load the academy and take it once around the loop."""
    tell(f"Loading {academy.users:,} simulated users and {academy.count(until=clock.now()):,} events")
    load(ours.store, academy, now=clock.now(), progress=_tenths("Loaded", tell))
    with ours.store.transaction() as conn:
        rules_engine.install_starters(conn, clock.now())
    ours.wait(ours.webserver)
    client, newest = DagsterClient(services.dagster_url(ours.settings)), clock.newest_closed_day(clock.now())
    past = days(newest - timedelta(days=HISTORY_DAYS), newest - clock.DAY)
    # Queued before the daemon starts, so that it comes before what the sensors would ask for. The newest day comes
    # last: then it is what the Dagster UI shows first.
    run_id = client.launch("daily", past)
    tell("Starting the Dagster daemon")
    ours.start(ours.daemon)
    _wait(client, run_id, f"The last {HISTORY_DAYS} days, counted in one run", tell)
    _wait(client, client.launch("daily", days(newest, newest)), f"Daily run of {newest}: to pending actions", tell)
    approved = _approve_some(ours.store, tell)
    _await(ours.store, messages, approved, "Messages delivered", tell)
    _answer_messages(ours.store, academy, clock.now())
    told = clock.newest_closed_week(clock.now())
    _wait(client, client.launch("weekly", week(told)), f"Weekly run of {told}: model, insights, report", tell)
    _await(ours.store, predictions, 1, "Scores by the new model", tell)
    _await(ours.store, outcomes, 1, "Outcomes", tell)


def _approve_some(store: Store, tell: Say) -> int:
    """Approve some of every rule's proposals, as a person would in the panel."""
    place = sa.func.row_number().over(partition_by=actions.c.triggered_by, order_by=actions.c.created_at)
    waiting = sa.select(actions.c.id, place.label("place")).where(actions.c.status == "pending").subquery()
    with store.transaction() as conn:
        chosen = list(conn.scalars(sa.select(waiting.c.id).order_by(waiting.c.place).limit(APPROVED)))
        for action_id in chosen:
            approvals.approve(conn, action_id, actor="demo", now=clock.now())
    tell(f"Approved {len(chosen)} pending actions; the sensor sends them")
    return len(chosen)


def _live(store: Store, academy: Academy, now: datetime) -> None:
    """Let the academy live until `now`: what its people do anyway, and how they answer what was delivered."""
    for bodies in academy.events(now.date() - clock.DAY, now.date(), until=now, batch=4_000):
        with store.transaction() as conn:
            ingest(conn, bodies, door=DOOR, received_at=now)
    _answer_messages(store, academy, now)


def _answer_messages(store: Store, academy: Academy, now: datetime) -> None:
    with store.transaction() as conn:
        sent = delivered(conn, since=now - timedelta(days=2))
        respond(conn, academy, sent, now=now, seed=SEED, speed=_A_DAY_IN_TEN_SECONDS)


def _wait(client: DagsterClient, run_id: str, what: str, tell: Say) -> None:
    tell(what)
    client.wait(run_id, _RUN_SECONDS, lambda _steps: None)


def _await(store: Store, table: sa.Table, rows: int, word: str, tell: Say) -> None:
    """Wait until a table has so many rows, and say how many; what takes longer comes while the demo is up."""
    until = time.monotonic() + _DELIVERY_SECONDS
    while (count := _count(store, table)) < rows and time.monotonic() < until:
        time.sleep(1.0)
    tell(f"{word}: {count}")


def _count(store: Store, table: sa.Table) -> int:
    with store.transaction() as conn:
        return conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def _print_state(ours: Installation, state: State, tell: Say) -> None:
    tell("Ready")
    for name, table in (
        ("events", events),
        ("users", users),
        ("segments", segments),
        ("predictions", predictions),
        ("actions", actions),
        ("messages delivered", messages),
        ("outcomes", outcomes),
    ):
        tell(f"  {_count(ours.store, table):>9,} {name}")
    for line in ours.links():
        tell(line)
    url = f"{services.api_url(ours.settings)}/api/oracle/ceo-report"
    tell(f"CEO report      curl -H 'Authorization: Bearer {state.key}' {url}")
    tell("Ctrl-C stops everything; `oracle demo` goes on with it later.")


def _begin(settings: Settings, store: Store, user_count: int) -> State:
    now = clock.now()
    with store.transaction() as conn:
        made = access.create(conn, "demo", ["admin"], now, environment=settings.environment)
    state = State(users=user_count, end=now.date().isoformat(), key=made.key, ready=False)
    _write(settings, state)
    return state


def _path(settings: Settings) -> Path:
    return settings.home_path / "demo.json"


def _read(settings: Settings) -> State | None:
    path = _path(settings)
    return State(**json.loads(path.read_text())) if path.exists() else None


def _write(settings: Settings, state: State) -> None:
    path = _path(settings)
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(state)))


def _every(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    """Return a function that acts when so many seconds have passed since it last did."""
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            act()
            last = time.monotonic()

    return tick


def _tenths(word: str, tell: Say) -> Callable[[int, int], None]:
    """Return a progress function that says every tenth."""
    said = 0

    def progress(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(total, 1)
        if tenth > said:
            said = tenth
            tell(f"{word} {tenth * 10} %")

    return progress
