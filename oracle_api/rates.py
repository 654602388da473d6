"""How many events a key may send: at most its limit in any ten seconds, counted in events, not in requests.

What a key sent is kept by slots of 50 ms, at most 201 of them, so that a key far above its limit gets its limit less
half a percent, whenever it starts: a counter weighted over two fixed windows let nearly twice as many in around their
edge.
A refused request counts nothing. Each API process counts for itself, so an installation with several allows each key
that many times the setting. Proved by `tests/api/test_rates.py`.
"""

import time
from collections import deque
from collections.abc import Callable
from itertools import accumulate
from threading import Lock

from oracle_lib.access import Caller
from oracle_lib.errors import Limited

WINDOW_SECONDS = 10
_SLOTS = 200
_SLOT_SECONDS = WINDOW_SECONDS / _SLOTS
_MOST_KEYS = 1_000


class Rates:
    """The counters of one process. `clock` gives seconds that never go back."""

    def __init__(self, events_per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = events_per_second * WINDOW_SECONDS
        self._clock = clock
        self._sent: dict[str, _Sent] = {}
        self._lock = Lock()

    def take(self, caller: Caller, events: int = 1) -> None:
        """Count events against the caller's limit. Raises `Limited`, with when to try again, once it is used up."""
        if events > self._limit:
            raise Limited(
                f"This key may send {self._limit} events in {WINDOW_SECONDS} s; this request has {events}: send it in"
                " parts. Nothing was stored.",
                retry_after=WINDOW_SECONDS,
            )
        with self._lock:
            now = self._clock()
            wait = self._of(caller, now).take(events, now, self._limit)
        if wait is not None:
            raise Limited("This key has sent as many events as it may for now. Nothing was stored.", retry_after=wait)

    def _of(self, caller: Caller, now: float) -> "_Sent":
        found = self._sent.get(caller.id)
        if found is None:
            if len(self._sent) >= _MOST_KEYS:
                self._sent = {key: sent for key, sent in self._sent.items() if sent.lately(now)}
            found = self._sent[caller.id] = _Sent()
        return found


class _Sent:
    """What one key sent within the last window."""

    __slots__ = ("_slots", "_total")

    def __init__(self) -> None:
        self._slots: deque[list[int]] = deque()  # [number of the slot, events in it], oldest first
        self._total = 0

    def take(self, events: int, now: float, limit: int) -> float | None:
        """Count `events`, or return in how many seconds they will fit."""
        slot = self._forget(now)
        missing = self._total + events - limit
        if missing > 0:
            return self._free_at(missing) - now
        if self._slots and self._slots[-1][0] == slot:
            self._slots[-1][1] += events
        elif events:
            self._slots.append([slot, events])
        self._total += events
        return None

    def lately(self, now: float) -> bool:
        """Say whether the key sent anything within the window."""
        self._forget(now)
        return bool(self._slots)

    def _forget(self, now: float) -> int:
        """Drop the slots that have left the window; return the number of the present one."""
        slot = int(now / _SLOT_SECONDS)
        while self._slots and self._slots[0][0] < slot - _SLOTS:
            self._total -= self._slots.popleft()[1]
        return slot

    def _free_at(self, missing: int) -> float:
        """Return the moment at which so many events will have left the window."""
        gone = accumulate(events for _, events in self._slots)
        last = next(slot for (slot, _), so_far in zip(self._slots, gone, strict=True) if so_far >= missing)
        return (last + _SLOTS + 1) * _SLOT_SECONDS
