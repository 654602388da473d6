"""`make bench`: run every measurement, print the table, write `bench/results.json`."""

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import daily_chain
from bench.result import Result

RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    """Measure and report; never fails on a budget that is not met, it says so."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure ORACLE against its budgets.")
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--events", type=int, default=20_000_000)
    asked = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="oracle-bench-") as folder:
        results = daily_chain.measure(Path(folder), users=asked.users, events=asked.events, say=console.print)
    RESULTS.write_text(json.dumps([result.as_json() for result in results], indent=2) + "\n")
    console.print(_table(results))


def _table(results: list[Result]) -> Table:
    table = Table(title="Measured against the budgets")
    for heading in ("what", "value", "unit", "budget", "met"):
        table.add_column(heading, justify="left" if heading in {"what", "unit"} else "right")
    for one in results:
        verdict = "" if one.met is None else ("yes" if one.met else "NO")
        budget = "" if one.budget is None else f"<= {one.budget:g}"
        table.add_row(one.name, f"{one.value:.3g}", one.unit, budget, verdict)
    return table


if __name__ == "__main__":
    main()
