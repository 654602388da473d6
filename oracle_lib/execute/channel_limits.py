"""How much each channel takes for now, as its provider's answers say. One object for all senders of a process."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from oracle_lib.execute.channels import Pause


@dataclass
class _Limit:
    """Nothing before `opens`; then `most` in each span. Moments are of the monotonic clock, in seconds."""

    span: float
    most: int | None
    opens: float
    began: float
    left: int


class ChannelLimits:
    """Knows the limits that channels spoke of. Not for several threads: the one that hands out messages keeps it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limits: dict[str, _Limit] = {}

    def heed(self, channel: str, pause: Pause) -> None:
        """Take note of what a provider asks."""
        span, now = pause.span.total_seconds(), self._clock()
        self._limits[channel] = _Limit(span, pause.most, opens=now + span, began=now + span, left=pause.most or 0)

    def room(self, channel: str) -> float:
        """Return how many messages may be handed to a channel now; infinite where nothing was said."""
        limit, now = self._limits.get(channel), self._clock()
        if limit is None:
            return math.inf
        if now < limit.opens:
            return 0
        if limit.most is None:
            del self._limits[channel]
            return math.inf
        if now >= limit.began + limit.span:
            limit.began, limit.left = now, limit.most
        return limit.left

    def take(self, channel: str) -> None:
        """Count a message that is handed over."""
        if limit := self._limits.get(channel):
            limit.left -= 1
            if limit.left <= 0:
                limit.opens = limit.began + limit.span

    def opens_in(self, channel: str) -> float:
        """Return the seconds until a channel takes something again."""
        limit = self._limits.get(channel)
        return 0.0 if limit is None else max(0.0, limit.opens - self._clock())
