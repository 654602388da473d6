"""Requests share a commit: they wait for a flush that stores what has come in since the last one.

An answer is given only after the commit that holds its events. Two flushes run at a time, so that one is read while the
other is written. The queue is bounded: when it is full, a request is told to come back instead of being kept waiting.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from fastapi.concurrency import run_in_threadpool

from oracle_lib import clock
from oracle_lib.errors import Transient
from oracle_lib.observe.batch import Door, IngestReport, Rejected, Warned
from oracle_lib.observe.ingest import ingest
from oracle_lib.storage.engine import Store

WAITING_EVENTS = 20_000
WAITING_BYTES = 64 * 1024 * 1024
_AT_ONCE = 2_500
_FLUSHES = 2
_STOPPING = "The server is stopping. Whether these events were stored is not known; send them again as they are."


@dataclass(frozen=True)
class Stored:
    """What became of one request's events, as `IngestReport` says it. Places are those within the request."""

    accepted: int
    duplicate: int
    rejected: Sequence[Rejected] = ()
    warnings: Sequence[Warned] = ()


@dataclass(frozen=True)
class _Waiting:
    bodies: Sequence[bytes]
    door: Door
    answer: "asyncio.Future[Stored]"

    @property
    def size(self) -> int:
        return sum(map(len, self.bodies))


class GroupCommit:
    """The shared flush of one process. Belongs to the event loop that first calls `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._events = 0
        self._bytes = 0
        self._flushing: set[asyncio.Task[None]] = set()

    async def store(self, bodies: Sequence[bytes], door: Door) -> Stored:
        """Store a request's events; return when they are committed.

        Raises `Transient` when too many wait or the flush failed: nothing of the request was stored then.
        """
        if self._events >= WAITING_EVENTS or self._bytes >= WAITING_BYTES:
            raise Transient("Too many events wait to be stored. These were not; send them again.", retry_after=1)
        one = _Waiting(bodies, door, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._events += len(bodies)
        self._bytes += one.size
        self._start()
        return await one.answer

    def _start(self) -> None:
        if self._waiting and len(self._flushing) < _FLUSHES:
            task = asyncio.create_task(self._flush())
            self._flushing.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._flushing.discard(task)
        self._start()

    def _next(self) -> list[_Waiting]:
        """Take the requests of one flush out of the queue: the first, and those after it while there is room."""
        batch: list[_Waiting] = []
        events = 0
        while self._waiting and (not batch or events + len(self._waiting[0].bodies) <= _AT_ONCE):
            one = self._waiting.popleft()
            batch.append(one)
            events += len(one.bodies)
            self._bytes -= one.size
        self._events -= events
        return batch

    async def _flush(self) -> None:
        # Let requests of this turn of the loop come in first: they ride along.
        await asyncio.sleep(0)
        batch = self._next()
        if not batch:
            return
        try:
            results = await run_in_threadpool(self._write, batch, clock.now())
        except BaseException as error:
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error if isinstance(error, Exception) else Transient(_STOPPING))
            if not isinstance(error, Exception):
                raise
            return
        for one, result in zip(batch, results, strict=True):
            if not one.answer.done():
                one.answer.set_result(result)

    def _write(self, batch: Sequence[_Waiting], received_at: datetime) -> list[Stored]:
        """Store the requests of a flush in one transaction; return after its commit."""
        order = sorted(range(len(batch)), key=lambda place: batch[place].door.source)
        results: dict[int, Stored] = {}
        with self._store.transaction() as conn:
            for door, group in groupby(order, key=lambda place: batch[place].door):
                places = list(group)
                bodies = [body for place in places for body in batch[place].bodies]
                report = ingest(conn, bodies, door=door, received_at=received_at)
                parts = _each([len(batch[place].bodies) for place in places], report)
                results.update(zip(places, parts, strict=True))
        return [results[place] for place in range(len(batch))]


def _each(sizes: Sequence[int], report: IngestReport) -> list[Stored]:
    """Cut the report of a flush into those of its requests, which had so many events each."""
    repeats = set(report.duplicates)
    refused = {one.index: one for one in report.rejected}
    parts: list[Stored] = []
    first = 0
    for size in sizes:
        here = range(first, first + size)
        rejected = [replace(refused[place], index=place - first) for place in here if place in refused]
        warnings = [replace(one, index=one.index - first) for one in report.warnings if one.index in here]
        duplicate = len(repeats.intersection(here))
        parts.append(Stored(size - duplicate - len(rejected), duplicate, rejected, warnings))
        first += size
    return parts
