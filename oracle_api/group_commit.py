"""Single events share a commit: requests wait for a flush that stores what has come in since the last one.

An answer is given only after the commit that holds its event. Two flushes run at a time, so that one is read while the
other is written. The queue is bounded: when it is full, a request is told to come back instead of being kept waiting.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from fastapi.concurrency import run_in_threadpool

from oracle_lib import clock
from oracle_lib.errors import Transient
from oracle_lib.observe.ingest import Door, IngestReport, Rejected, ingest
from oracle_lib.storage.engine import Store

WAITING = 5_000
_AT_ONCE = 500
_FLUSHES = 2


@dataclass(frozen=True)
class Stored:
    """What became of one event: stored, stored before, or refused."""

    duplicate: bool = False
    rejected: Rejected | None = None


@dataclass(frozen=True)
class _Waiting:
    body: bytes
    door: Door
    answer: "asyncio.Future[Stored]"


class GroupCommit:
    """The shared flush of one process. Belongs to the event loop that first calls `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._flushing: set[asyncio.Task[None]] = set()

    async def store(self, body: bytes, door: Door) -> Stored:
        """Store one event; return when it is committed. Raises `Transient` when too many wait or the flush failed."""
        if len(self._waiting) >= WAITING:
            raise Transient("Too many events wait to be stored. This one was not; send it again.", retry_after=1)
        answer: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(body, door, answer))
        self._start()
        return await answer

    def _start(self) -> None:
        if self._waiting and len(self._flushing) < _FLUSHES:
            task = asyncio.create_task(self._flush())
            self._flushing.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._flushing.discard(task)
        self._start()

    async def _flush(self) -> None:
        # Let requests of this turn of the loop come in first: they ride along.
        await asyncio.sleep(0)
        batch = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
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
        """Store a batch in one transaction; return after its commit."""
        order = sorted(range(len(batch)), key=lambda place: batch[place].door.source)
        results: dict[int, Stored] = {}
        with self._store.transaction() as conn:
            for _, group in groupby(order, key=lambda place: batch[place].door):
                places = list(group)
                bodies = [batch[place].body for place in places]
                report = ingest(conn, bodies, door=batch[places[0]].door, received_at=received_at)
                results |= _each(places, report)
        return [results[place] for place in range(len(batch))]


_STOPPING = "The server is stopping. Whether this event was stored is not known; send it again with its `messageId`."


def _each(places: Sequence[int], report: IngestReport) -> dict[int, Stored]:
    repeats = set(report.duplicates)
    refused = {one.index: one for one in report.rejected}
    return {
        place: Stored(duplicate=index in repeats, rejected=refused.get(index)) for index, place in enumerate(places)
    }
