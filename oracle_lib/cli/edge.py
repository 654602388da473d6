"""What every command does at its edge: reads the settings, opens the database, speaks to the terminal."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from oracle_lib import settings as settings_module
from oracle_lib.settings import Settings

if TYPE_CHECKING:
    from oracle_lib.storage.engine import Store

T = TypeVar("T")


def settings() -> Settings:
    """Return the settings; a wrong one ends the command with its name."""
    from pydantic import ValidationError

    try:
        return settings_module.get()
    except ValidationError as error:
        wrong = "; ".join(f"ORACLE_{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
        typer.secho(f"A setting is wrong. {wrong}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None


def with_store(work: Callable[["Store"], T]) -> T:
    """Do work on the installation's database, which is started for it if nobody has."""
    from oracle_lib.cli import home

    with home.store(settings()) as store:
        return work(store)


def say(line: str) -> None:
    """Tell the person at the terminal; what a command answers with goes to standard output instead."""
    typer.echo(line, err=True)
