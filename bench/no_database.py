"""The API with the shared flush cut off from the database: what HTTP, routing and checking cost by themselves.

uvicorn bench.no_database:application --factory
"""

from collections.abc import Sequence
from dataclasses import replace

from fastapi import FastAPI

from oracle_api import app
from oracle_api.group_commit import GroupCommit, Stored
from oracle_lib import clock
from oracle_lib.observe import wire
from oracle_lib.observe.batch import Door


class Forgetful(GroupCommit):
    """Checks a single event as ever, and then forgets it."""

    async def store(self, bodies: Sequence[bytes], door: Door) -> Stored:
        """Answer as if they were stored."""
        for body in bodies:
            wire.parse(body, clock.now(), door.limits)
        return Stored(len(bodies), 0)


def application() -> FastAPI:
    """Return the application; only the first request of a key still asks the database who it is."""
    made = app.from_environment()
    made.state.edge = replace(made.state.edge, group=Forgetful(made.state.edge.store))
    return made
