"""Keys that were verified a moment ago: the route that takes single events does not ask the database for each.

A revoked or expired key is refused within `REMEMBERED` on every process. Only keys that were good are remembered.
"""

from datetime import datetime, timedelta

from fastapi.concurrency import run_in_threadpool

from oracle_lib import access
from oracle_lib.access import Caller, Presented
from oracle_lib.storage.engine import Store

REMEMBERED = timedelta(seconds=2)
_MOST = 1_000


class RememberedCallers:
    """The callers one process has verified."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Presented, tuple[datetime, Caller]] = {}

    async def verify(self, key: Presented, now: datetime) -> Caller:
        """Return who holds `key`. Raises `Unknown` as `access.verify` does."""
        known = self._known.get(key)
        if known is not None and now - known[0] < REMEMBERED:
            return known[1]
        caller = await run_in_threadpool(self._ask, key, now)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = now, caller
        return caller

    def _ask(self, key: Presented, now: datetime) -> Caller:
        with self._store.transaction() as conn:
            return access.verify(conn, key, now)
