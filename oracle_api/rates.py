"""How many events a key may send: a sliding window of ten seconds, counted in events, not in requests.

Each API process counts for itself, so an installation with several allows each key that many times the setting.
"""

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from oracle_lib import clock
from oracle_lib.access import Caller
from oracle_lib.errors import Limited

WINDOW_SECONDS = 10


class Rates:
    """The counters of one process."""

    def __init__(self, events_per_second: int) -> None:
        self._window = RateLimitItemPerSecond(events_per_second * WINDOW_SECONDS, WINDOW_SECONDS)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def take(self, caller: Caller, events: int = 1) -> None:
        """Count events against the caller's limit. Raises `Limited`, with when to try again, once it is used up."""
        if events and not self._limiter.hit(self._window, caller.id, cost=events):
            reset = self._limiter.get_window_stats(self._window, caller.id).reset_time
            wait = max(1.0, min(reset - clock.now().timestamp(), WINDOW_SECONDS))
            raise Limited("This key has sent as many events as it may for now. Nothing was stored.", retry_after=wait)
