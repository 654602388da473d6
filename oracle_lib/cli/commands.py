"""The `oracle` command. Each command is an edge: it reads the clock and the settings, and prints what a person needs.

Heavy libraries are imported inside the commands, so that `oracle --help` answers at once.
"""

import sys
from contextlib import suppress
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oracle_lib import clock
from oracle_lib.cli import edge, evaluate, intake, rules
from oracle_lib.errors import OracleError

if TYPE_CHECKING:
    from oracle_lib.storage.engine import Store

app = typer.Typer(
    help="ORACLE: events in, proposals approved, every effect measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="API keys: who may send events and ask for answers.", no_args_is_help=True)
app.add_typer(keys, name="key")
app.add_typer(intake.events, name="events")
app.add_typer(intake.refused, name="rejected")
app.add_typer(intake.plan, name="plan")
app.add_typer(rules.app, name="rules")
app.add_typer(evaluate.app, name="evaluate")


class Cadence(StrEnum):
    """Which run."""

    daily = "daily"
    weekly = "weekly"


class Source(StrEnum):
    """Which form the history has."""

    jsonl = "jsonl"
    csv = "csv"
    oulad = "oulad"


@app.command()
def up() -> None:
    """Start PostgreSQL, the API and Dagster; stay until Ctrl-C, then stop them all."""
    from oracle_lib.cli import up as module

    with suppress(KeyboardInterrupt):
        module.run(edge.settings(), edge.say)


@app.command()
def demo(
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the demo and begin again; asks first.")] = False,
    users: Annotated[int, typer.Option(min=50, help="How many simulated users.")] = 5000,
) -> None:
    """Start a simulated academy in a home of its own and take it once around the loop, through Dagster."""
    from oracle_lib.cli import demo as module

    settings = module.settings_of(edge.settings())
    if fresh and settings.home_path.exists():
        typer.confirm(f"Delete everything in {settings.home_path}?", abort=True)
        module.delete(settings)
    with suppress(KeyboardInterrupt):
        module.run(settings, users, edge.say)


@app.command(name="run")
def run_cadence(
    cadence: Cadence,
    day: Annotated[
        str | None, typer.Option("--date", metavar="YYYY-MM-DD", help="A closed day, or any day of a whole week.")
    ] = None,
) -> None:
    """Run the daily or weekly stages here, without Dagster, and print their reports."""
    from oracle_lib import stages, window
    from oracle_lib.cli import home
    from oracle_lib.cli.reading import print_step

    settings, now = edge.settings(), clock.now()
    asked = _day(day) if day else None
    with home.store(settings) as store:
        if cadence is Cadence.daily:
            with store.transaction() as conn:
                days = window.Window(asked, asked, now) if asked else window.missed_days(conn, now)
            steps = stages.daily(store, days, settings, owner="oracle run")
        else:
            week = clock.week_of(asked) if asked else clock.newest_closed_week(now)
            steps = stages.weekly(store, window.Week(week, now), settings)
        for name, step in steps:
            print_step(name, step)


@app.command()
def migrate() -> None:
    """Bring the database to the tables of this version."""
    from oracle_lib.cli import home
    from oracle_lib.storage.migrate import revision

    with home.store(edge.settings()) as store, store.transaction() as conn:
        edge.say(f"The database stands at revision {revision(conn)}.")


@app.command(name="import")
def import_history(
    source: Source, path: Annotated[Path, typer.Argument(exists=True, help="A file, or the folder of OULAD.")]
) -> None:
    """Put real history through the same door as the API; goes on where it stopped, adds nothing twice."""
    from oracle_lib.cli import home
    from oracle_lib.cli.reading import print_report, progress
    from oracle_lib.observe import importing

    reading = {
        Source.jsonl: importing.import_jsonl,
        Source.csv: importing.import_csv,
        Source.oulad: importing.import_oulad,
    }[source]
    settings = edge.settings()
    with home.store(settings) as store, progress(f"Importing {path.name}") as moved:
        report = reading(store, path, settings=settings, now=clock.now(), progress=moved)
    print_report("imported", report)


@app.command()
def env() -> None:
    """Print what `dagster` and `dg` need by hand: eval "$(oracle env)"."""
    import shlex

    from oracle_lib.cli import home

    settings = edge.settings()
    home.prepare_dagster(settings)
    with home.database(settings) as addresses:
        found = home.environment(settings, addresses)
    for name, value in found.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def doctor() -> None:
    """Say what is wrong with this installation and how to mend it; exit 1 when something is."""
    from oracle_lib.cli import doctor as module
    from oracle_lib.cli.reading import print_diagnosis

    if not print_diagnosis(module.examine(edge.settings(), clock.now())):
        raise typer.Exit(1)


@app.command(name="send-test")
def send_test(
    channel: Annotated[str, typer.Argument(help="email, dm, push, post or alert.")],
    to: Annotated[str | None, typer.Argument(help="An e-mail address; for dm and push a user's id.")] = None,
) -> None:
    """Send a test message now and say what the provider said; exit 1 when it was not taken."""
    from oracle_lib.execute import trial

    def work(store: "Store") -> trial.Trial:
        return trial.send(store, channel, to, settings=edge.settings(), actor="command line", now=clock.now())

    tried = edge.with_store(work)
    typer.echo(f"{tried.channel}: {tried.said}")
    if not tried.delivered:
        raise typer.Exit(1)


@keys.command("create")
def key_create(
    source: Annotated[str, typer.Option(help="The system that will hold the key; its events carry this name.")],
    scope: Annotated[list[str], typer.Option(help="What it may do; give the option once for each scope.")],
) -> None:
    """Make an API key and print it, once: only its hash is kept."""
    from oracle_lib import access

    settings = edge.settings()

    def work(store: "Store") -> access.NewKey:
        with store.transaction() as conn:
            return access.create(conn, source, scope, clock.now(), environment=settings.environment)

    made = edge.with_store(work)
    typer.echo(made.key)
    edge.say(f"Key {made.id} for {source}. It is not shown again.")


@keys.command("revoke")
def key_revoke(key_id: Annotated[str, typer.Argument(help="The eight characters after the environment.")]) -> None:
    """Make a key worthless from the next call on."""
    from oracle_lib import access

    def work(store: "Store") -> access.KeyInfo:
        with store.transaction() as conn:
            return access.revoke(conn, key_id, clock.now())

    edge.say(f"Key {edge.with_store(work).id} is revoked.")


@keys.command("list")
def key_list() -> None:
    """List every key, the revoked ones too; never a secret."""
    from oracle_lib import access
    from oracle_lib.cli.reading import print_rows

    def work(store: "Store") -> list[access.KeyInfo]:
        with store.transaction() as conn:
            return access.listing(conn)

    print_rows("API keys", edge.with_store(work))


def main() -> None:
    """Run a command; an error of ours is one sentence and exit code 1."""
    try:
        app(standalone_mode=True)
    except OracleError as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        sys.exit(1)


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day, YYYY-MM-DD.", param_hint="--date") from None
