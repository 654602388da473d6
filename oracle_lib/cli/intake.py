"""Commands about events that come in: watch them, see to those that were refused, agree on how they look."""

import json
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oracle_lib import clock
from oracle_lib.cli import edge
from oracle_lib.errors import Invalid

if TYPE_CHECKING:
    from oracle_lib.observe.tail import Shown, Tail
    from oracle_lib.observe.tracking_plan import Entry, Mode
    from oracle_lib.storage.engine import Store

events = typer.Typer(help="Events as they come in.", no_args_is_help=True)
refused = typer.Typer(help="Events that were refused: why, and in again.", no_args_is_help=True)
plan = typer.Typer(help="The tracking plan: how the metadata of events should look.", no_args_is_help=True)
_LOOK_SECONDS = 0.5
_MODES = ("warn", "reject")


@events.command("tail")
def events_tail(
    source: Annotated[str | None, typer.Option(help="Only what this source sends.")] = None,
    key: Annotated[str | None, typer.Option(help="Only what comes with this key (its id).")] = None,
) -> None:
    """Print each event as it comes in, with what became of it, until Ctrl-C."""
    from oracle_lib.observe import tail

    def work(store: "Store") -> None:
        with store.transaction() as conn:
            opened = tail.open_tail(conn, clock.now(), source=source, key_id=key)
        edge.say("Watching. Running API processes show what comes in from about 4 s from now.")
        try:
            while True:
                for one in _look(store, opened):
                    typer.echo(_line(one))
                time.sleep(_LOOK_SECONDS)
        finally:
            with store.transaction() as conn:
                tail.close(conn, opened)

    with suppress(KeyboardInterrupt):
        edge.with_store(work)


@refused.command("list")
def rejected_list(
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
) -> None:
    """Show the newest refused events and how many there are by reason."""
    from oracle_lib.cli.reading import print_rows
    from oracle_lib.observe import rejected

    def work(store: "Store") -> rejected.Page:
        with store.transaction() as conn:
            return rejected.listing(conn, reason=reason, limit=limit)

    page = edge.with_store(work)
    print_rows("Refused events", list(page.rejected))
    for name, count in sorted(page.by_reason.items()):
        edge.say(f"{count:>9,} {name}")


@refused.command("replay")
def rejected_replay(reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None) -> None:
    """Send refused events in again; those that are acceptable now are stored, once."""
    from oracle_lib.cli.reading import print_report
    from oracle_lib.observe import rejected, tracking_plan, wire

    settings = edge.settings()

    def work(store: "Store") -> rejected.ReplayReport:
        with store.transaction() as conn:
            limits = wire.Limits(currency=settings.currency, late=None)
            terms = rejected.Terms(limits, settings.segment_names, tracking_plan.load(conn))
            return rejected.replay(conn, terms=terms, now=clock.now(), reason=reason)

    print_report("replayed", edge.with_store(work))


@plan.command("show")
def plan_show() -> None:
    """Print the tracking plan as `plan apply` reads it."""
    entries = edge.with_store(_plan)
    typer.echo(json.dumps({one.event: {"mode": one.mode, "schema": one.schema} for one in entries}, indent=2))


@plan.command("apply")
def plan_apply(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help='JSON: {"event": {"mode", "schema"}}')],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make the tracking plan be what a file says; shows what that changes, and asks."""
    from oracle_lib.observe import tracking_plan

    wanted = _wanted(file)

    def work(store: "Store") -> None:
        with store.transaction() as conn:
            standing = {one.event: (one.mode, one.schema) for one in tracking_plan.listing(conn)}
            changed = [name for name, entry in wanted.items() if standing.get(name) != entry]
            gone = sorted(standing.keys() - wanted.keys())
            for name in changed:
                edge.say(f"{'change' if name in standing else 'add':>7} {name} ({wanted[name][0]})")
            for name in gone:
                edge.say(f" remove {name}")
            if not changed and not gone:
                edge.say("The plan is what the file says.")
                return
            for name in changed:
                mode, schema = wanted[name]
                tracking_plan.put(conn, name, schema, mode, by="command line", now=clock.now())
            for name in gone:
                tracking_plan.remove(conn, name, by="command line", now=clock.now())
            if not yes:
                typer.confirm("Apply this?", abort=True)

    edge.with_store(work)


def _plan(store: "Store") -> "list[Entry]":
    from oracle_lib.observe import tracking_plan

    with store.transaction() as conn:
        return tracking_plan.listing(conn)


def _wanted(file: Path) -> "dict[str, tuple[Mode, dict[str, object]]]":
    try:
        said = json.loads(file.read_text())
    except ValueError as error:
        raise Invalid(f"{file.name} is not JSON: {error}.") from error
    if not isinstance(said, dict):
        raise Invalid(f'{file.name} must be {{"event": {{"mode": "warn", "schema": {{...}}}}}}.')
    wanted: dict[str, tuple[Mode, dict[str, object]]] = {}
    for name, entry in said.items():
        schema = entry.get("schema") if isinstance(entry, dict) else None
        mode = entry.get("mode", "warn") if isinstance(entry, dict) else None
        if not isinstance(schema, dict) or mode not in _MODES or entry.keys() - {"schema", "mode"}:
            raise Invalid(f"{file.name}, {name}: must have a `schema` and a `mode` of warn or reject.")
        wanted[name] = (mode, schema)
    return wanted


def _look(store: "Store", opened: "Tail") -> "list[Shown]":
    from oracle_lib.observe import tail

    with store.transaction() as conn:
        return tail.take(conn, opened, clock.now())


def _line(one: "Shown") -> str:
    """Return one event as a line: when, what became of it, whose and what it is, and what there is against it."""
    against = f"{one.reason or ''} {one.field or ''} {one.detail or ''}".strip()
    what = one.event or (one.body or "")[:60].replace("\n", " ")
    parts = (_clock(one.received_at), f"{one.outcome:<9}", one.source, one.user_id or "-", what, against)
    return "  ".join(part for part in parts if part)


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
