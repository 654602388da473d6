"""What commands print: reports, diagnoses and progress, for a person in a terminal."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from oracle_lib.cli.doctor import Diagnosis

_ROWS = 12


def print_step(name: str, step: Callable[[], object]) -> None:
    """Run a step and print its report with the time it took."""
    start = time.perf_counter()
    report = step()
    print_report(f"{name} ({time.perf_counter() - start:.1f} s)", report)


def print_report(title: str, report: object) -> None:
    """Print a report's fields; counts by name as rows, a report in Markdown as it reads."""
    console = Console()
    if isinstance(report, Sequence) and not isinstance(report, str):
        print_rows(title, report)
        return
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    text = None
    for name, value in _fields(report):
        if name == "markdown":
            text = str(value)
        elif isinstance(value, Mapping):
            shown = list(value.items())[:_ROWS]
            table.add_row(name, ", ".join(f"{key} {count}" for key, count in shown) or "none")
        else:
            table.add_row(name, str(value))
    console.print(table)
    if text is not None:
        console.print(Markdown(text))


def print_rows(title: str, rows: Sequence[object]) -> None:
    """Print dataclasses of one kind as a table."""
    console = Console()
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(title=title, title_justify="left")
    for name, _ in _fields(rows[0]):
        table.add_column(name)
    for row in rows:
        table.add_row(*(_cell(value) for _, value in _fields(row)))
    console.print(table)


def print_diagnosis(found: Sequence[Diagnosis]) -> bool:
    """Print what the doctor found, with the cure of each ill; say whether all is well."""
    console = Console()
    for one in found:
        console.print(
            f"[green]well[/]  {one.subject}: {one.detail}" if one.well else f"[red]ill[/]   {one.subject}: {one.detail}"
        )
        if not one.well:
            console.print(f"      {one.cure}")
    return all(one.well for one in found)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that moves a progress bar to (done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)

        def move(done: int, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total)

        yield move


def _fields(report: object) -> list[tuple[str, object]]:
    if dataclasses.is_dataclass(report):
        return [(field.name, getattr(report, field.name)) for field in dataclasses.fields(report)]
    return [("result", report)]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
