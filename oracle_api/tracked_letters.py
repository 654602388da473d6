"""Reads the tokens of tracked letters and counts who followed them; no reader is turned away because of the database.

The key is read once. What was seen is stored together, one transaction at a time: a reader waits for that half a second
at most. Where the database does not answer, or more wait than there is room for, they are not counted.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from fastapi.concurrency import run_in_threadpool

from oracle_lib.execute import tracked_letters, unsubscribe_links
from oracle_lib.execute.tracked_letters import Named
from oracle_lib.learn.webhooks import sightings
from oracle_lib.learn.webhooks.sightings import Sighting
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store

_PATIENCE_SECONDS = 0.5
_ROOM = 10_000
_log = structlog.get_logger("oracle_api")


@dataclass(frozen=True)
class _Waiting:
    seen: Sighting
    over: asyncio.Event


class TrackedLetters:
    """The readers of one process. Belongs to the event loop that first calls it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._key = unsubscribe_links.chosen_key(settings)
        self._waiting: list[_Waiting] = []
        self._storing: asyncio.Task[None] | None = None

    async def named(self, token: str) -> Named | None:
        """Return what a token names; None for one that is altered, or leads to a host that is not allowed."""
        if self._key is None:
            self._key = await run_in_threadpool(self._read_key)
        named = tracked_letters.read(self._key, token)
        if named is None or named.target is None:
            return named
        return named if tracked_letters.leads_out(named.target, self._settings) else None

    async def count(self, seen: Sighting) -> None:
        """Store what was seen, or have it stored while the reader goes on. Raises nothing."""
        if len(self._waiting) >= _ROOM:
            return
        one = _Waiting(seen, asyncio.Event())
        self._waiting.append(one)
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all())
        with suppress(TimeoutError):
            await asyncio.wait_for(one.over.wait(), _PATIENCE_SECONDS)

    def _read_key(self) -> bytes:
        with self._store.transaction() as conn:
            return unsubscribe_links.key(conn, self._settings)

    async def _store_all(self) -> None:
        """Store what waits, and what comes meanwhile."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    await run_in_threadpool(self._write, [one.seen for one in batch])
                except sa.exc.SQLAlchemyError as error:
                    _log.warning("readers_not_counted", readers=len(batch), error=type(error).__name__)
                for one in batch:
                    one.over.set()
        finally:
            self._storing = None

    def _write(self, seen: list[Sighting]) -> None:
        with self._store.transaction() as conn:
            sightings.keep(conn, seen)
