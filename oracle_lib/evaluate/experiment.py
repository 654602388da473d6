"""An experiment that was run elsewhere, out of a CSV with a row a user: every arm against control."""

import csv
import gzip
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oracle_lib.errors import Invalid
from oracle_lib.learn import effects
from oracle_lib.learn.effects import Arm, Effect, Split


@dataclass(frozen=True)
class ExperimentReport:
    """One metric of one experiment. `rate`: every outcome is 0 or 1. `adjusted_p` is for the number of arms.

    With a `split` that is broken nothing else means anything.
    """

    metric: str
    rate: bool
    control: str
    effects: dict[str, Effect]
    adjusted_p: dict[str, float]
    split: Split


@dataclass
class _Sums:
    users: int = 0
    total: float = 0.0
    squares: float = 0.0
    rate: bool = field(default=True)

    def add(self, value: float) -> None:
        self.users += 1
        self.total += value
        self.squares += value * value
        self.rate = self.rate and value in {0.0, 1.0}


def evaluate(
    path: Path, *, arm: str, control: str, metric: str, weights: Mapping[str, float] | None = None
) -> ExperimentReport:
    """Read a CSV (or .csv.gz) with a header; `arm` and `metric` name columns, `control` is the value of one arm.

    `weights` are the planned shares of the arms; equal ones if not given. Raises `Invalid` with the line that cannot be
    read.
    """
    sums = _read(path, arm, metric)
    if control not in sums:
        raise Invalid(f"No row has {control!r} in column {arm!r}; it has {', '.join(sorted(sums))}.", field="control")
    if len(sums) < 2:
        raise Invalid(f"Column {arm!r} holds one arm only; there is nothing to hold it against.", field="arm")
    unknown = sorted(set(weights or {}) - set(sums))
    if unknown:
        raise Invalid(f"No row has {unknown[0]!r} in column {arm!r}.", field="weights")
    arms = {name: Arm(name, one.users, one.total, one.squares) for name, one in sums.items()}
    rate = all(one.rate for one in sums.values())
    others = sorted(set(arms) - {control})
    found = {name: effects.compare(arms[control], arms[name], rate=rate) for name in others}
    adjusted = effects.false_discoveries([found[name].p for name in others])
    return ExperimentReport(
        metric=metric,
        rate=rate,
        control=control,
        effects=found,
        adjusted_p=dict(zip(others, adjusted, strict=True)),
        split=effects.split({name: one.users for name, one in arms.items()}, weights or dict.fromkeys(arms, 1.0)),
    )


def _read(path: Path, arm: str, metric: str) -> dict[str, _Sums]:
    sums: dict[str, _Sums] = {}
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        for named, column in (("arm", arm), ("metric", metric)):
            if column not in (rows.fieldnames or ()):
                raise Invalid(
                    f"There is no column {column!r}; there are {', '.join(rows.fieldnames or ())}.", field=named
                )
        for row in rows:
            sums.setdefault(row[arm], _Sums()).add(_number(row[metric], metric, rows.line_num))
    return sums


def _number(text: str | None, metric: str, line: int) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Invalid(f"Line {line}: {text!r} in column {metric!r} is no number.", field="metric")
    return value
