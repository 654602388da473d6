"""What the database said a moment ago: a route that takes thousands of events a second does not ask it for each.

However many requests want an answer, one of them asks; an answer in use is asked for again while the last one still
serves. What was changed is noticed within `SERVES` on every process. Only answers are remembered, never errors.
"""

import asyncio
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Connection

from oracle_lib.storage.engine import Store

FRESH = timedelta(seconds=2)
SERVES = timedelta(seconds=4)
_MOST = 1_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """The answers of one process to one kind of question. Belongs to the event loop that first calls `get`."""

    def __init__(self, store: Store, ask: Callable[[Connection, K, datetime], V]) -> None:
        self._store = store
        self._question = ask
        self._known: dict[K, tuple[datetime, V]] = {}
        self._asking: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, now: datetime) -> V:
        """Return the answer for `key`. Raises what the question raises."""
        known = self._known.get(key)
        if known is not None and now - known[0] < SERVES:
            if now - known[0] >= FRESH:
                self._ask(key, now)
            return known[1]
        return await asyncio.shield(self._ask(key, now))

    def _ask(self, key: K, now: datetime) -> "asyncio.Task[V]":
        """Return the one question about `key` that is under way."""
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(run_in_threadpool(self._answer, key, now))
            asking.add_done_callback(lambda done: self._answered(key, now, done))
        return asking

    def _answered(self, key: K, now: datetime, done: "asyncio.Task[V]") -> None:
        del self._asking[key]
        if done.cancelled() or done.exception() is not None:
            self._known.pop(key, None)
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = now, done.result()

    def _answer(self, key: K, now: datetime) -> V:
        with self._store.transaction() as conn:
            return self._question(conn, key, now)
