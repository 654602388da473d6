"""How much a fresh process, as each daily run is, grows over the chain of a day that brought as much again."""

import subprocess
import sys

from bench.academy import LAST, Academy, add_day
from bench.result import Result, Say
from oracle_lib.clock import DAY

_RUN = """
import sys
from datetime import date
import psutil
from bench.academy import run_chain
from bench.result import peak_bytes
from oracle_lib.observe.activity import activity_expr
from oracle_lib.observe.moments import OneDay
from oracle_lib.storage.engine import Store
from oracle_lib.storage.publish import compiled
store = Store(sys.argv[1])
store.engine.connect().close()
compiled(activity_expr(OneDay(date.fromisoformat(sys.argv[2]))))  # Ibis imports its compiler when it is first used.
before = psutil.Process().memory_info().rss
run_chain(store, date.fromisoformat(sys.argv[2]))
print(peak_bytes() - before)
"""


def measure(academy: Academy, *, say: Say) -> list[Result]:
    """Run the chain for one more day; the peak counts, above what the process holds once it has imported."""
    day = LAST + DAY
    add_day(academy, day)
    command = [sys.executable, "-c", _RUN, academy.store.url, day.isoformat()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    grown = int(done.stdout) / 2**20
    say(f"  a fresh process grew by {grown:.0f} MB")
    return [Result("memory of the daily chain, peak above imports", grown, "MB", 100)]
