"""Commands about rules as files: write what is published, show what files would change, publish that."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oracle_lib import clock
from oracle_lib.cli import edge

if TYPE_CHECKING:
    from oracle_lib.decide.rule_files import Plan, Step
    from oracle_lib.storage.engine import Store

app = typer.Typer(help="Rules as files, for review and version control.", no_args_is_help=True)


@app.command("export")
def rules_export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Made if it is not there.")],
) -> None:
    """Write every published rule into a folder, one JSON file each."""
    from oracle_lib.decide import rule_files

    def work(store: "Store") -> rule_files.Exported:
        with store.transaction() as conn:
            return rule_files.export(conn, folder)

    done = edge.with_store(work)
    edge.say(f"{len(done.written)} rules written to {folder}.")
    if done.strangers:
        edge.say(f"Left as they are, being no rule of this installation: {', '.join(done.strangers)}.")


@app.command("apply")
def rules_apply(
    folder: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="As `export` writes it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Publish what the files of a folder say, all of it or nothing; shows what that changes, and asks."""
    from oracle_lib.decide import rule_files

    said = rule_files.read(folder)

    def work(store: "Store") -> None:
        with store.transaction() as conn:
            planned = rule_files.plan(conn, said)
        _show(planned)
        if dry_run or not planned.to_publish:
            return
        # Not in the transaction: one that waits for a person is ended by the database after a minute.
        if not yes:
            typer.confirm("Publish this?", abort=True)
        with store.transaction() as conn:
            published = rule_files.apply(conn, planned, actor="command line", now=clock.now())
        edge.say(f"{published} rules published.")

    edge.with_store(work)


def _show(planned: "Plan") -> None:
    for step in planned.to_publish:
        for line in _lines(step):
            typer.echo(line)
    same = len(planned.steps) - len(planned.to_publish)
    typer.echo(f"{'same':>7} {same} of {len(planned.steps)} files")
    if planned.others:
        edge.say(f"Without a file, and left as they are: {', '.join(planned.others)}.")


def _lines(step: "Step") -> list[str]:
    """Return a step as lines: the rule, then each place with what stands there and what would."""
    changed = [
        line
        for change in step.changes
        for line in (f"        {change.field}", f"          - {_said(change.old)}", f"          + {_said(change.new)}")
    ]
    return [f"{step.kind:>7} {step.rule.name} ({step.file})", *changed]


def _said(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
