"""One measured figure, with the budget it is held against."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """A figure; `budget` is the most it may be, None where it is only reported."""

    name: str
    value: float
    unit: str
    budget: float | None = None

    @property
    def met(self) -> bool | None:
        """Say whether the budget is kept."""
        return None if self.budget is None else self.value <= self.budget

    def as_json(self) -> dict[str, object]:
        """Return the line of `results.json`."""
        return {"name": self.name, "value": self.value, "unit": self.unit, "budget": self.budget, "met": self.met}


@dataclass
class Watch:
    """A stopped time, in seconds."""

    seconds: float = 0.0


@contextmanager
def timed(say: Say, what: str) -> Iterator[Watch]:
    """Time a block and say how long it took."""
    watch = Watch()
    started = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - started
    say(f"  {what}: {watch.seconds:.2f} s")
