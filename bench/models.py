"""Training the four models, and scoring everybody by them: each in a fresh process, as Dagster runs it.

A simulated academy has the labels that a made-up feed would lack. A tenth of its people are drawn, and live ten times.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta

from bench.academy import LAST, NOW, SETTINGS, database
from bench.result import Result, Say, timed
from oracle_lib import simulate
from oracle_lib.analyze import classifier
from oracle_lib.observe import activity
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import user_day_events, user_days, user_lessons, users

_DAYS = 120
_TIMES = 10
_COPIED = (users, user_days, user_day_events, user_lessons)
_RUN = """
import json, sys, time
from datetime import date
from bench.academy import SETTINGS
from bench.result import peak_bytes
from oracle_lib.analyze import predictor, training
from oracle_lib.storage.engine import Store
day, store = date.fromisoformat(sys.argv[2]), Store(sys.argv[1])
started = time.perf_counter()
with store.transaction() as conn:
    if sys.argv[3] == "train":
        said = [f"{one.target}: {one.note}" for one in training.train(conn, day, settings=SETTINGS)]
    else:
        said = [str(predictor.score(conn, day, settings=SETTINGS, everyone=True).versions)]
seconds = time.perf_counter() - started
print(json.dumps([seconds, peak_bytes() / 2**20, said]))
"""


@dataclass(frozen=True)
class _Run:
    """A process that ended: seconds of its work, its peak memory in MB, and what it had to say."""

    seconds: float
    megabytes: float
    said: list[str]


def measure(server: EmbeddedServer, *, count: int, say: Say) -> list[Result]:
    """Fill a database of its own with `count` users, train on it, and score everybody twice: first and again."""
    with database(server, "models") as store:
        _fill(store, count, say)
        trained = _run(store, "train", say)
        first, again = (_run(store, "score", say) for _ in range(2))
    return [
        Result("training the four models", trained.seconds, "s", 300),
        Result("training, peak memory of the process", trained.megabytes, "MB"),
        Result("scoring everybody for the first time", first.seconds, "s", 20),
        Result("scoring everybody again", again.seconds, "s", 20),
        Result("scoring, peak memory of the process", max(first.megabytes, again.megabytes), "MB", 1024),
    ]


def _fill(store: Store, count: int, say: Say) -> None:
    academy = simulate.Academy.make(count // _TIMES, _DAYS, LAST, seed=1)
    with timed(say, f"{count // _TIMES:,} simulated users"):
        simulate.load(store, academy, now=NOW)
        with store.transaction() as conn:
            activity.rollup(conn)
    with timed(say, f"each of them {_TIMES} times, worked out"), store.transaction() as conn:
        for table in _COPIED:
            key, *others = (column.name for column in table.columns if column.computed is None)
            columns = ", ".join(others)
            conn.exec_driver_sql(
                f"INSERT INTO {table.name} ({key}, {columns}) SELECT t.{key} || '-' || copy, {columns}"
                f" FROM {table.name} t CROSS JOIN generate_series(2, {_TIMES}) AS copy"
            )
        conn.exec_driver_sql("ANALYZE")
        activity.refresh(conn, LAST + timedelta(days=1), everyone=True)
        classifier.classify(conn, LAST + timedelta(days=1), settings=SETTINGS, everyone=True)


def _run(store: Store, what: str, say: Say) -> _Run:
    day = LAST if what == "train" else LAST + timedelta(days=1)
    command = [sys.executable, "-c", _RUN, store.url, day.isoformat(), what]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    found = _Run(*json.loads(ended.stdout))
    say(f"  {what}: {found.seconds:.1f} s, {found.megabytes:.0f} MB")
    for line in found.said:
        say(f"    {line}")
    return found
