"""`make bench`: run every measurement, print the table, write `bench/results.json`.

    python -m bench [--users N] [--events N] [--only SUBJECT]

Results of subjects that were not asked for keep their line in `results.json` only if all are asked for: a file mixes no
sizes and no days.
"""

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import (
    academy,
    dagster_overhead,
    daily_chain,
    dry_run,
    growth,
    ingest,
    memory,
    models,
    publishing,
    reading,
    sending,
)
from bench.result import Result, Say
from oracle_lib.storage.embedded import EmbeddedServer

RESULTS = Path(__file__).parent / "results.json"
# Those on the one large academy, in this order: its newest day waits for the chain only once, memory adds another day.
_LARGE = {
    "daily_chain": daily_chain.measure,
    "publishing": publishing.measure,
    "reading": reading.measure,
    "memory": memory.measure,
}
SUBJECTS = ("ingest", "sending", "dagster_overhead", "growth", "dry_run", "models", *_LARGE)
# Growth is measured on academies a tenth as large, and on four times that.
_TENTH = 10
# A rule is tried on an academy of a quarter of the users.
_QUARTER = 4


def main() -> None:
    """Measure and report; never fails on a budget that is not met, it says so."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure ORACLE against its budgets.")
    parser.add_argument("--users", type=int, default=200_000, help="users of the large academy (200000)")
    parser.add_argument("--events", type=int, default=20_000_000, help="their events in 90 days (20000000)")
    parser.add_argument("--only", choices=SUBJECTS, help="measure one subject")
    asked = parser.parse_args()
    console = Console()
    subjects = [asked.only] if asked.only else list(SUBJECTS)
    with tempfile.TemporaryDirectory(prefix="oracle-bench-") as folder, academy.server(Path(folder)) as server:
        results = _measure(server, Path(folder), subjects, asked.users, asked.events, console.print)
    RESULTS.write_text(json.dumps([result.as_json() for result in results], indent=2) + "\n")
    console.print(_table(results, f"{asked.users:,} users, {asked.events:,} events"))


def _measure(
    server: EmbeddedServer, folder: Path, subjects: list[str], users: int, events: int, say: Say
) -> list[Result]:
    results: list[Result] = []
    if "ingest" in subjects:
        say("Ingest")
        results += ingest.measure(server, say=say)
    if "sending" in subjects:
        say("Sending")
        results += sending.measure(server, say=say)
    if "dagster_overhead" in subjects:
        say("Dagster's overhead")
        results += dagster_overhead.measure(server, folder, say=say)
    if "growth" in subjects:
        say("Growth")
        results += growth.measure(server, users=users // _TENTH, events=events // _TENTH, say=say)
    if "dry_run" in subjects:
        say("Dry run")
        results += dry_run.measure(server, users=users // _QUARTER, events=events // _QUARTER, say=say)
    if "models" in subjects:
        say("Models")
        results += models.measure(server, count=users, say=say)
    large = [name for name in _LARGE if name in subjects]
    if large:
        results += _on_the_large_academy(server, large, users, events, say)
    return results


def _on_the_large_academy(
    server: EmbeddedServer, subjects: list[str], users: int, events: int, say: Say
) -> list[Result]:
    results: list[Result] = []
    a_day = events // academy.DAYS
    with academy.database(server, "large") as store:
        say("The large academy")
        made = academy.build(store, users=users, a_day=a_day, newest=a_day, say=say)
        if "daily_chain" not in subjects:
            academy.run_chain(store, academy.LAST)
        for name in subjects:
            say(name.replace("_", " ").capitalize())
            results += _LARGE[name](made, say=say)
    return results


def _table(results: list[Result], size: str) -> Table:
    table = Table(title=f"Measured against the budgets: {size}")
    for heading in ("what", "value", "unit", "budget", "met"):
        table.add_column(heading, justify="left" if heading in {"what", "unit"} else "right")
    for one in results:
        verdict = "" if one.met is None else ("yes" if one.met else "NO")
        sign = ">=" if one.at_least else "<="
        budget = "" if one.budget is None else f"{sign} {one.budget:g}"
        table.add_row(one.name, f"{one.value:.3g}", one.unit, budget, verdict)
    return table


if __name__ == "__main__":
    main()
