"""The `oracle` command: starts the other packages as processes, imports neither, and prints what a person needs."""

from oracle_lib.cli.commands import main

__all__ = ["main"]
