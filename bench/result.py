"""One measured figure, with the budget it is held against."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """A figure; `budget` is the most it may be, or the least where `at_least`; None where it is only reported."""

    name: str
    value: float
    unit: str
    budget: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Say whether the budget is kept."""
        if self.budget is None:
            return None
        return self.value >= self.budget if self.at_least else self.value <= self.budget

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


def quiet(_: str) -> None:
    """Say nothing: for what is timed as a part of something larger."""


def median_seconds(say: Say, what: str, times: int, call: Callable[[], object]) -> float:
    """Call so many times and return the median of the seconds it took."""
    seconds: list[float] = []
    for _ in range(times):
        with timed(quiet, what) as watch:
            call()
        seconds.append(watch.seconds)
    median = statistics.median(seconds)
    say(f"  {what}: {median:.3f} s, median of {times}")
    return median


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which so many percent of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def peak_bytes() -> int:
    """Return the most memory that this process has held; getrusage counts what its parent held at the start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024
