"""Keys that were verified a moment ago: the route that takes single events does not ask the database for each.

However many requests bring a key, one of them asks; a key in use is asked about again while the last answer still
serves. A revoked or expired key is refused within `SERVES` on every process. Only keys that were good are remembered.
"""

import asyncio
from datetime import datetime, timedelta

from fastapi.concurrency import run_in_threadpool

from oracle_lib import access
from oracle_lib.access import Caller, Presented
from oracle_lib.storage.engine import Store

FRESH = timedelta(seconds=2)
SERVES = timedelta(seconds=4)
_MOST = 1_000


class RememberedCallers:
    """The callers one process has verified. Belongs to the event loop that first calls `verify`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Presented, tuple[datetime, Caller]] = {}
        self._asking: dict[Presented, asyncio.Task[Caller]] = {}

    async def verify(self, key: Presented, now: datetime) -> Caller:
        """Return who holds `key`. Raises `Unknown` as `access.verify` does."""
        known = self._known.get(key)
        age = None if known is None else now - known[0]
        if known is not None and age is not None and age < SERVES:
            if age >= FRESH:
                self._ask(key, now)
            return known[1]
        return await asyncio.shield(self._ask(key, now))

    def _ask(self, key: Presented, now: datetime) -> "asyncio.Task[Caller]":
        """Return the one question about `key` that is under way."""
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(run_in_threadpool(self._verified, key, now))
            asking.add_done_callback(lambda done: self._answered(key, now, done))
        return asking

    def _answered(self, key: Presented, now: datetime, done: "asyncio.Task[Caller]") -> None:
        del self._asking[key]
        if done.cancelled() or done.exception() is not None:
            self._known.pop(key, None)
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = now, done.result()

    def _verified(self, key: Presented, now: datetime) -> Caller:
        with self._store.transaction() as conn:
            return access.verify(conn, key, now)
