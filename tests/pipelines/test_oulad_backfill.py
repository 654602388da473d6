"""Real history from its files to the counts of each past day: imported, then backfilled from the Dagster UI in one run.

What the tables say is compared with what the files say, counted here by hand. A backfill over every day of both
presentations takes well under a minute beside the start of the servers; the same test serves `make test` and the full
size.
"""

import os
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib import clock
from oracle_lib.cli import dagster_client, home
from oracle_lib.decide import decider, rules_engine
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, segment_counts, user_days, users
from tests import world
from tests.conftest import home_folder
from tests.oulad import Happened, happened, raw
from tests.pipelines.installation import ORACLE, Up

pytestmark = pytest.mark.timeout(600)

FIRST, LAST = date(2013, 2, 1), date(2014, 10, 31)
DAYS = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
DAILY = ("events", "user_days", "activity", "segments", "predictions", "actions", "deliveries", "outcomes", "retention")
_LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
  }
}
"""
_RUNS = """
query Runs($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { runs(limit: 10) { runId status } } }
}
"""
_MATERIALIZED = """
query Materialized($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { partitionStats { numMaterialized numFailed } } }
}
"""


@dataclass
class Installation:
    """A running installation with OULAD in it, and what became of the backfill."""

    store: Store
    url: str
    second_import: str
    runs: list[dict[str, str]]

    def ask(self, query: str, **variables: object) -> dict:
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer
        return dict(answer["data"])

    def scalar(self, query: sa.Select) -> object:
        with self.store.transaction() as conn:
            return conn.scalar(query)


@pytest.fixture(scope="module")
def history(real_data: Path) -> list[Happened]:
    """Everything that has a day in the files."""
    return list(happened(real_data))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with home_folder() as made:
        yield made


@pytest.fixture(scope="module")
def oulad(real_data: Path, folder: Path) -> Iterator[Installation]:
    """OULAD imported twice, the starter rules, `oracle up`, and every day of both presentations backfilled."""
    settings = Settings(home=folder / "home")
    with home.store(settings) as store, store.transaction() as conn:
        rules_engine.install_starters(conn, clock.now())
    _import(real_data, settings)
    second_import = _import(real_data, settings)
    up = Up(folder)
    try:
        up.wait_until_ready()
        with home.store(settings) as store:
            made = Installation(store, f"http://127.0.0.1:{up.dagster}", second_import, [])
            made.runs = _backfill(made)
            yield made
        assert up.stop() == 0, up.output
    finally:
        up.clean()


def _import(real_data: Path, settings: Settings) -> str:
    environment = {**os.environ, "ORACLE_HOME": str(settings.home_path)}
    command = [ORACLE, "import", "oulad", real_data / "oulad"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def _backfill(running: Installation) -> list[dict[str, str]]:
    """Ask for every day as the UI does, and wait until its runs have ended."""
    params = {"assetSelection": [{"path": [name]} for name in DAILY], "partitionNames": [str(day) for day in DAYS]}
    asked = running.ask(_LAUNCH, params=params)["launchPartitionBackfill"]
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        runs = running.ask(_RUNS, id=asked["backfillId"])["partitionBackfillOrError"]["runs"]
        if runs and all(run["status"] in {"SUCCESS", "FAILURE", "CANCELED"} for run in runs):
            return list(runs)
        time.sleep(0.5)
    raise AssertionError("The backfill did not end.")


def test_every_day_of_both_presentations_is_one_run(oulad: Installation) -> None:
    assert [run["status"] for run in oulad.runs] == ["SUCCESS"]
    for name in DAILY:
        stats = oulad.ask(_MATERIALIZED, key={"path": [name]})["assetNodeOrError"]["partitionStats"]
        assert stats == {"numMaterialized": len(DAYS), "numFailed": 0}, name


def test_importing_twice_adds_nothing(oulad: Installation, history: list[Happened]) -> None:
    assert "added 0 " in " ".join(oulad.second_import.split())
    assert oulad.scalar(sa.select(sa.func.sum(user_days.c.events))) == len(history)


def test_what_happened_on_each_day_is_what_the_files_say(
    oulad: Installation, real_data: Path, history: list[Happened]
) -> None:
    counted = Counter((event, day) for _, event, day in history)
    kinds = sorted({event for event, _ in counted})
    with oulad.store.transaction() as conn:
        sums = [sa.func.sum(user_days.c[kind]).label(kind) for kind in kinds]
        rows = conn.execute(sa.select(user_days.c.day, *sums).group_by(user_days.c.day)).all()
    found = {(kind, row.day): getattr(row, kind) for row in rows for kind in kinds if getattr(row, kind)}
    assert found == counted
    by_kind: Counter[str] = Counter()
    for (kind, _), number in found.items():
        by_kind[kind] += number
    enrolments, submissions = raw(real_data, "studentRegistration"), raw(real_data, "studentAssessment")
    assert (len(enrolments), len(submissions)) == (13_529, 82_842)
    assert by_kind["signup"] == len(enrolments) - 18
    assert by_kind["quiz_pass"] + by_kind["quiz_fail"] == len(submissions) - 84


def test_withdrawals_per_week_are_those_of_the_files(oulad: Installation, history: list[Happened]) -> None:
    left = Counter(clock.week_of(day) for _, event, day in history if event == "course_withdrawn")
    with oulad.store.transaction() as conn:
        rows = conn.execute(sa.select(user_days.c.day, user_days.c.course_withdrawn))
        found: Counter[date] = Counter()
        for row in rows:
            found[clock.week_of(row.day)] += row.course_withdrawn
    assert +found == left


def test_the_counts_of_past_days_are_those_worked_out_from_the_files(
    oulad: Installation, history: list[Happened]
) -> None:
    with oulad.store.transaction() as conn:
        rows = conn.execute(sa.select(segment_counts)).all()
    assert {row.day for row in rows} >= set(DAYS)
    found: dict[date, dict[tuple[str, str], int]] = defaultdict(dict)
    for row in rows:
        found[row.day][row.field, row.value] = row.users
    lives: dict[str, dict[str, list[date]]] = defaultdict(lambda: defaultdict(list))
    for user, event, day in history:
        lives[user][event].append(day)
    for day in DAYS[::23]:
        expected: Counter[tuple[str, str]] = Counter()
        for life in lives.values():
            expected.update(_levels(life, day).items())
        assert found[day] == expected, day


def _levels(life: dict[str, list[date]], today: date) -> dict[str, str]:
    """The levels of one user on a day, from the definitions in docs/metrics.md; none before they joined."""
    past = {event: [(today - day).days for day in days if day <= today] for event, days in life.items()}
    every = [days for ago in past.values() for days in ago]
    if not every:
        return {}
    # A withdrawal is recorded about a user, not done by them on the platform.
    acted = [days for event, ago in past.items() if event != "course_withdrawn" for days in ago]
    silent, joined = min(acted, default=max(every)), max(every)
    lessons = past.get("lesson_complete", [])
    week = sum(days < 7 for days in lessons)
    weeks = len({days // 7 for days in acted if days < 28})
    engagement = (
        "lost" if silent > 30 else "dormant" if silent > 14 else "active" if week >= 5
        else "moderate" if week >= 2 else "new" if joined < 14 else "moderate"
    )  # fmt: skip
    lifecycle = (
        ("alumni" if silent >= 60 else "graduate") if past.get("course_complete") else "lead" if not lessons
        else "new" if joined < 14 else "engaged" if weeks >= 3 else "active"
    )  # fmt: skip
    return {"engagement_level": engagement, "lifecycle": lifecycle, "value_segment": "low"}


def test_neither_the_backfill_nor_the_next_daily_run_proposes_anything(oulad: Installation) -> None:
    assert oulad.scalar(sa.select(sa.func.count()).select_from(actions)) == 0
    newest = clock.newest_closed_day(clock.now())
    client = dagster_client.DagsterClient(oulad.url)
    client.wait(client.launch("daily", dagster_client.days(newest, newest)), 200, lambda _: None)
    assert oulad.scalar(sa.select(sa.func.count()).select_from(actions)) == 0


def test_the_rules_would_have_proposed_had_the_import_set_no_baseline(oulad: Installation) -> None:
    """The control: the same rules over the same people, in the middle of a presentation."""
    now = datetime(2013, 11, 20, 12, tzinfo=UTC)
    with oulad.store.engine.connect() as conn:
        world.run_stages(conn, now.date())
        assert _proposed(conn, now) == 0
        conn.execute(sa.update(users).values(baseline_at=None))
        assert _proposed(conn, now) > 100


def _proposed(conn: Connection, now: datetime) -> int:
    decider.propose(conn, as_of=now.date(), now=now, triggers=("time_based", "segment_based"), everyone=True)
    return conn.scalar(sa.select(sa.func.count()).select_from(actions)) or 0
