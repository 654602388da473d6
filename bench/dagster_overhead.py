"""What Dagster adds to a daily run: a process that runs the job, against the stages alone.

The run starts as the daemon starts one: a fresh process that loads the code location and keeps its log in PostgreSQL.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.academy import SETTINGS, database
from bench.result import Result, Say, quiet, timed
from oracle_lib import clock, stages
from oracle_lib.cli import home
from oracle_lib.simulate import Academy, load
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store, psycopg2_url
from oracle_lib.window import Window

_USERS, _DAYS = 300, 45
_RUN = """
import sys
import dagster as dg
from oracle_pipelines.definitions import defs
with dg.DagsterInstance.get() as instance:
    made = defs.resolve_job_def("daily").execute_in_process(instance=instance, partition_key=sys.argv[1])
sys.exit(not made.success)
"""


def measure(server: EmbeddedServer, folder: Path, *, say: Say) -> list[Result]:
    """Run the newest closed day once to leave nothing new, then with Dagster and without it."""
    now = clock.now()
    with database(server, "overhead") as store:
        load(store, Academy.make(_USERS, _DAYS, now.date(), seed=1), now=now)
        _stages_alone(store)
        environment = _prepare(server, store, folder)
        with timed(quiet, "the first run makes Dagster's tables"):
            _run(environment)
        with timed(say, "a daily run through Dagster, from its process's start to its end") as whole:
            _run(environment)
        with timed(say, "the same stages alone") as alone:
            _stages_alone(store)
    server.drop_database("dagster")
    return [
        Result("a daily run through Dagster, nothing new", whole.seconds, "s"),
        Result("Dagster's overhead of a daily run", whole.seconds - alone.seconds, "s", 5),
    ]


def _stages_alone(store: Store) -> None:
    now = clock.now()
    newest = clock.newest_closed_day(now)
    for _, step in stages.daily(store, Window(newest, newest, now), SETTINGS, "bench"):
        step()


def _prepare(server: EmbeddedServer, store: Store, folder: Path) -> dict[str, str]:
    dagster_home = folder / "dagster"
    dagster_home.mkdir()
    shutil.copyfile(home.root_file("dagster.yaml"), dagster_home / "dagster.yaml")
    return {
        **os.environ,
        "DAGSTER_HOME": str(dagster_home),
        "ORACLE_DATABASE_URL": store.url,
        "ORACLE_DAGSTER_DATABASE_URL": psycopg2_url(server.ensure_database("dagster")),
    }


def _run(environment: dict[str, str]) -> None:
    partition = clock.newest_closed_day(clock.now()).isoformat()
    subprocess.run([sys.executable, "-c", _RUN, partition], env=environment, check=True, capture_output=True)
