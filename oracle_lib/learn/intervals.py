"""How well a share is known from so many cases."""

import math
from dataclasses import dataclass

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """`hits` of `cases`, with the Wilson score interval of the share behind it (Wilson 1927), 95 %."""

    hits: int
    cases: int

    @property
    def value(self) -> float:
        """The share itself, 0-1; 0 without cases."""
        return self.hits / self.cases if self.cases else 0.0

    @property
    def low(self) -> float:
        """The lower end of the interval, 0-1."""
        return self._bounds()[0]

    @property
    def high(self) -> float:
        """The upper end of the interval, 0-1."""
        return self._bounds()[1]

    @property
    def precision(self) -> int:
        """How precisely the share is known, 0-100: 100 less the width of the interval in points."""
        return round(100 * (1 - (self.high - self.low)))

    def __str__(self) -> str:
        return f"{self.hits:,} of {self.cases:,} ({100 * self.value:.0f} %)"

    def _bounds(self) -> tuple[float, float]:
        if not self.cases:
            return 0.0, 1.0
        z2 = _Z95 * _Z95 / self.cases
        middle = self.value + z2 / 2
        reach = _Z95 * math.sqrt(self.value * (1 - self.value) / self.cases + z2 / (4 * self.cases))
        return max(0.0, (middle - reach) / (1 + z2)), min(1.0, (middle + reach) / (1 + z2))
