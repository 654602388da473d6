"""Holds a lifetime value forecast against what came: fitted on what was known by a day, measured on the days after it.

`try_out` measures, `verdict` says whether the forecast is earned. Amounts are in the installation's currency.
numpy is imported where it is used.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from oracle_lib.analyze.lifetime_value import MIN_REPEATERS, Customers, expected_value, fit, simulate
from oracle_lib.errors import Invalid

if TYPE_CHECKING:
    from oracle_lib.analyze.lifetime_value import Array, Fit

KIND = "bg_nbd"
# What it has to be better than, each customer by customer.
BASELINES = {"own_rate": "their own past rate", "mean": "everybody's mean"}
SHARE = 0.8
DAYS_A_WEEK = 7
# By how much the total may miss, and how many of the 80 % intervals have to hold: fewer or more, and they are wrong.
MOST_OFF_PERCENT = 25.0
COVERAGE = (0.7, 0.9)
_DRAWS, _DRAWS_OF_TOTAL = 500, 200
# Customers by purchases so far: the fewest of each group, and its name.
_GROUPS = {1: "1 purchase", 2: "2 purchases", 3: "3 purchases", 4: "4 to 6 purchases", 7: "7 or more"}


@dataclass(frozen=True)
class Errors:
    """By how much a forecast misses a customer: the mean distance, and the root of the mean squared one."""

    mean_absolute: float
    root_mean_square: float


@dataclass(frozen=True)
class Group:
    """Customers with about as many purchases so far: what was expected of them all, and what came."""

    purchases: str
    customers: int
    expected: float
    actual: float


@dataclass(frozen=True)
class ValueMetrics:
    """A forecast of the `days` that were held out, against what came.

    `lower` to `upper` is the 80 % interval of the total. `coverage`: of the customers with an interval that is more
    than 0, who are `with_interval`, the share for whom it held. `off_percent` is None where nothing came, `coverage`
    where there are no such customers. `errors_of` has the model and what it was compared with.
    """

    customers: int
    repeaters: int
    days: int
    expected: float
    lower: float
    upper: float
    actual: float
    off_percent: float | None
    coverage: float | None
    with_interval: int
    errors_of: Mapping[str, Errors]
    groups: tuple[Group, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """Whether a forecast is earned, and why or why not in a sentence."""

    holds: bool
    note: str


def try_out(known: Customers, came: "Array", days: int) -> ValueMetrics:
    """Fit on what was known of customers and measure on what each paid in the `days` after.

    Raises `Invalid`, with the reason, where there is too little to fit or to measure on.
    """
    import numpy as np

    reach = round(float(known.known.max(initial=0.0)) * DAYS_A_WEEK)
    if reach < days:
        said = f"purchases reach {reach} days behind the {days} that are held out; as many are needed"
        raise Invalid(f"Too little history: {said}.", code="too_little_history")
    fitted = fit(known)
    weeks = days / DAYS_A_WEEK
    expected = expected_value(fitted, known, weeks)
    lower, upper = intervals(fitted, known, weeks)
    totals = simulate(fitted, known, weeks, amounts=True, draws=_DRAWS_OF_TOTAL).totals
    total = np.quantile(totals, ((1 - SHARE) / 2, (1 + SHARE) / 2))
    asked = upper > 0
    held = ((lower <= came) & (came <= upper))[asked]
    said_of = {KIND: expected, "own_rate": _own_rate(known, weeks), "mean": _mean(known, weeks)}
    return ValueMetrics(
        customers=len(known),
        repeaters=int((known.repeats > 0).sum()),
        days=days,
        expected=float(expected.sum()),
        lower=float(total[0]),
        upper=float(total[1]),
        actual=float(came.sum()),
        off_percent=float(100 * (expected.sum() / came.sum() - 1)) if came.any() else None,
        coverage=float(held.mean()) if len(held) else None,
        with_interval=len(held),
        errors_of={name: _errors(said, came) for name, said in said_of.items()},
        groups=_groups(known, expected, came),
    )


def verdict(told: ValueMetrics) -> Verdict:
    """Say whether a forecast is earned.

    It is where the total missed by at most 25 %, the 80 % intervals held for 70 to 90 % of the customers, and both
    errors are smaller than those of each baseline.
    """
    ours = told.errors_of[KIND]
    against: list[str] = []
    if told.off_percent is None:
        against.append("nothing came")
    elif abs(told.off_percent) > MOST_OFF_PERCENT:
        against.append(f"the total is more than {MOST_OFF_PERCENT:.0f} % off")
    if told.coverage is None or told.with_interval < MIN_REPEATERS:
        against.append(f"only {told.with_interval} customers have an interval to judge by")
    elif not COVERAGE[0] <= told.coverage <= COVERAGE[1]:
        against.append(f"{told.coverage:.0%} of the intervals held instead of {SHARE:.0%}")
    for name, words in BASELINES.items():
        theirs = told.errors_of[name]
        if ours.mean_absolute >= theirs.mean_absolute or ours.root_mean_square >= theirs.root_mean_square:
            against.append(f"it is no better than {words}")
    figures = f"{told.expected:,.2f} was expected of {told.customers:,} customers where {told.actual:,.2f} came"
    if against:
        return Verdict(False, f"Held back: {', '.join(against)}; {figures}.")
    return Verdict(True, f"Holds: {figures}.")


def intervals(fitted: "Fit", customers: Customers, weeks: float) -> tuple["Array", "Array"]:
    """Return `lower` and `upper` of what each customer pays in the next `weeks`; who did the same share an interval."""
    import numpy as np

    histories = np.column_stack([customers.repeats, customers.last, customers.known, customers.amount])
    distinct, which = np.unique(histories, axis=0, return_inverse=True)
    drawn = simulate(fitted, Customers(*distinct.T), weeks, amounts=True, share=SHARE, draws=_DRAWS)
    return drawn.lower[which.ravel()], drawn.upper[which.ravel()]


def _own_rate(known: Customers, weeks: float) -> "Array":
    """Return what each customer pays if they go on as so far; nothing of those who never bought again."""
    import numpy as np

    return known.repeats * known.amount / np.maximum(known.known, 1 / DAYS_A_WEEK) * weeks


def _mean(known: Customers, weeks: float) -> "Array":
    """Return what each customer pays if all go on as all did so far, each alike."""
    import numpy as np

    return np.full(len(known), (known.repeats * known.amount).sum() / known.known.sum() * weeks)


def _errors(said: "Array", came: "Array") -> Errors:
    import numpy as np

    off = said - came
    return Errors(float(np.abs(off).mean()), float(np.sqrt((off**2).mean())))


def _groups(known: Customers, expected: "Array", came: "Array") -> tuple[Group, ...]:
    import numpy as np

    fewest = np.array(list(_GROUPS))
    place = np.searchsorted(fewest, known.repeats + 1, side="right") - 1
    members = [(name, place == number) for number, name in enumerate(_GROUPS.values())]
    return tuple(
        Group(name, int(of.sum()), float(expected[of].sum()), float(came[of].sum())) for name, of in members if of.any()
    )
