"""Did it help: what an arm of an experiment did against control, with how sure that is and whether it may be said.

Everything works on sums an arm (users, total, sum of squares), so that a read-out is one set-based query and a test on
a file the same arithmetic. By intention to treat: an arm is everybody assigned to it, reached or not.

Two kinds of interval. The fixed one is right if it is looked at once. The sequential one holds at all times at once:
look daily, stop when you like, and no more than 5 % of effectless experiments are ever called effective. scipy is
imported where it is used. Tests: `tests/unit/test_effects.py`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oracle_lib.errors import Invalid

# Fewer users in an arm, or fewer (non-)events of a rate in both together, and the normal approximation is a guess.
MIN_USERS, MIN_EVENTS = 100, 10
# A split this unlikely under the plan is broken: assignment or logging loses users, and nothing else may be read.
BROKEN_SPLIT = 0.001
# The verdict on what may be chance or may not: nobody can tell yet.
TOO_FEW = "not enough data"
CONFIDENCE = 0.95
POWER = 0.8
# The number of users at which the sequential interval is tightest; it holds at every other number too.
_TIGHTEST_AT = 5_000


@dataclass(frozen=True)
class Arm:
    """One arm: everybody assigned to it, and the total and sum of squares of their outcomes (of a rate 0 or 1 each)."""

    name: str
    users: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """The mean outcome a user; 0 without users."""
        return self.total / self.users if self.users else 0.0

    @property
    def variance(self) -> float:
        """The sample variance of outcomes."""
        if self.users < 2:
            return 0.0
        return max(self.squares - self.users * self.mean**2, 0.0) / (self.users - 1)


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with 95 %."""

    lower: float
    upper: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero is outside."""
        return self.lower > 0 or self.upper < 0


@dataclass(frozen=True)
class Effect:
    """One arm against control.

    `difference` of means and `lift`, the same as a share of control's mean (None where that is 0). `statistic` is z of
    the pooled two-proportion test for rates, t of Welch's for means; `p` two-sided. `detectable`: the smallest
    difference that so many users would find in 8 of 10 experiments. `verdict`: better, worse, no difference found (by
    the sequential interval), or not enough data.
    """

    arm: str
    users: int
    mean: float
    control_users: int
    control_mean: float
    difference: float
    standard_error: float
    interval: Interval
    sequential: Interval
    lift: float | None
    lift_interval: Interval | None
    statistic: float
    p: float
    detectable: float
    verdict: str


@dataclass(frozen=True)
class Split:
    """Whether users fell into the arms as planned: p of the chi-square test, and whether it is broken."""

    p: float
    broken: bool


def compare(control: Arm, arm: Arm, *, rate: bool) -> Effect:
    """Hold an arm against control; `rate` says that each outcome is 0 or 1."""
    difference = arm.mean - control.mean
    spread = arm.variance / max(arm.users, 1) + control.variance / max(control.users, 1)
    statistic, p, reach = _proportions(control, arm, spread) if rate else _welch(control, arm, spread)
    fixed = Interval(difference - reach, difference + reach)
    sequential = _sequential(difference, spread, control.users + arm.users)
    lift, lift_interval = _lift(control, arm)
    return Effect(
        arm=arm.name,
        users=arm.users,
        mean=arm.mean,
        control_users=control.users,
        control_mean=control.mean,
        difference=difference,
        standard_error=math.sqrt(spread),
        interval=fixed,
        sequential=sequential,
        lift=lift,
        lift_interval=lift_interval,
        statistic=statistic,
        p=p,
        detectable=_detectable(spread),
        verdict=_verdict(control, arm, sequential, rate=rate),
    )


def split(users: Mapping[str, int], weights: Mapping[str, float]) -> Split:
    """Hold the number of users of each arm against the planned weights (any positive numbers), by chi-square.

    A planned 80 to 20 is no mismatch. Raises `Invalid` where an arm has no weight, or a weight is not positive.
    """
    from scipy.stats import chisquare

    for name in users:
        if not weights.get(name, 0) > 0:
            raise Invalid(f"Arm {name!r} needs a weight above 0.", field="weights")
    planned = {name: weights[name] for name in users}
    total = sum(users.values())
    if total == 0 or len(users) < 2:
        return Split(1.0, False)
    whole = sum(planned.values())
    p = float(chisquare(list(users.values()), [total * one / whole for one in planned.values()]).pvalue)
    return Split(p, p < BROKEN_SPLIT)


def false_discoveries(p: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for being many (Benjamini, Hochberg 1995): under 0.05, 5 % of finds are false."""
    from scipy.stats import false_discovery_control

    return [float(one) for one in false_discovery_control(p)] if len(p) else []


def _proportions(control: Arm, arm: Arm, spread: float) -> tuple[float, float, float]:
    """Return z (with the pooled rate), p, and the reach of the interval (with each arm's own rate)."""
    from scipy.stats import norm

    pooled = (control.total + arm.total) / max(control.users + arm.users, 1)
    error = math.sqrt(pooled * (1 - pooled) * (1 / max(control.users, 1) + 1 / max(arm.users, 1)))
    z = (arm.mean - control.mean) / error if error else 0.0
    return z, float(2 * norm.sf(abs(z))), float(norm.ppf((1 + CONFIDENCE) / 2)) * math.sqrt(spread)


def _welch(control: Arm, arm: Arm, spread: float) -> tuple[float, float, float]:
    """Return t (Welch 1947), p, and the reach of the interval, with Satterthwaite's degrees of freedom."""
    from scipy.stats import t as student

    if spread == 0 or min(control.users, arm.users) < 2:
        return 0.0, 1.0, float(student.ppf((1 + CONFIDENCE) / 2, 1)) * math.sqrt(spread)
    parts = [(one.variance / one.users, one.users - 1) for one in (control, arm)]
    freedom = spread**2 / sum(part**2 / free for part, free in parts if part)
    t = (arm.mean - control.mean) / math.sqrt(spread)
    return (
        t,
        float(2 * student.sf(abs(t), freedom)),
        float(student.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(spread),
    )


def _sequential(difference: float, spread: float, users: int) -> Interval:
    """Return an interval that holds at every number of users at once.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), "Time-uniform central
    limit theory and asymptotic confidence sequences", from Robbins' normal mixture, tuned as they say.
    """
    alpha = 1 - CONFIDENCE
    tuned = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / _TIGHTEST_AT
    grown = max(users, 1) * tuned
    reach = math.sqrt(spread * 2 * (grown + 1) / grown * math.log(math.sqrt(grown + 1) / alpha))
    return Interval(difference - reach, difference + reach)


def _lift(control: Arm, arm: Arm) -> tuple[float | None, Interval | None]:
    """Return the difference as a share of control's mean, with its interval by the delta method."""
    from scipy.stats import norm

    if control.mean == 0:
        return None, None
    ratio = arm.mean / control.mean
    error = math.sqrt(
        (arm.variance / max(arm.users, 1) + ratio**2 * control.variance / max(control.users, 1)) / control.mean**2
    )
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    return ratio - 1, Interval(ratio - 1 - reach, ratio - 1 + reach)


def _detectable(spread: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(POWER)) * math.sqrt(spread)


def _verdict(control: Arm, arm: Arm, sequential: Interval, *, rate: bool) -> str:
    happened = control.total + arm.total
    users = control.users + arm.users
    few = min(control.users, arm.users) < MIN_USERS or (rate and min(happened, users - happened) < MIN_EVENTS)
    if few:
        return TOO_FEW
    if not sequential.excludes_zero:
        return "no difference found"
    return "better" if sequential.lower > 0 else "worse"
