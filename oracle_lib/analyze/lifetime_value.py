"""What customers will still buy: BG/NBD for how often, Gamma-Gamma for how much, fitted by maximum likelihood.

A customer who is alive buys at a rate of their own and is gone after any purchase with a probability of their own; both
vary over customers. Time is in weeks. A purchase is a day with purchases; the first one says when a customer came and
is not counted. Sources: Fader, Hardie, Lee (2005) "Counting your customers the easy way"; Fader, Hardie (2013) "The
gamma-gamma model of monetary value". scipy is imported where it is used.

`1 - P(alive)` is no churn score: one-time buyers count as alive. Expected purchases are.
"""

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from oracle_lib.errors import Invalid

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

MIN_REPEATERS = 30
_DRAWS_AT_ONCE = 2_000_000
# Of the logarithms of parameters: beyond, a likelihood is flat and says nothing.
_BOUND = 12.0


@dataclass(frozen=True)
class Customers:
    """One customer an element: repeat purchases, weeks from the first to the last and to now, mean amount of repeats.

    `amount` is 0 where there was no repeat purchase, or none with an amount above zero.
    """

    repeats: "Array"
    last: "Array"
    known: "Array"
    amount: "Array"

    def __len__(self) -> int:
        return len(self.repeats)

    def part(self, which: slice) -> "Customers":
        """Return some of them."""
        return Customers(self.repeats[which], self.last[which], self.known[which], self.amount[which])


@dataclass(frozen=True)
class Buying:
    """BG/NBD: rates are Gamma(r, alpha) over customers, drop-out probabilities Beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float


@dataclass(frozen=True)
class Spending:
    """Gamma-Gamma: amounts are Gamma(p, v) for a customer, v is Gamma(q, gamma) over customers."""

    p: float
    q: float
    gamma: float


@dataclass(frozen=True)
class Fit:
    """A fitted pair of models with the log likelihood of each. `spending` is None where too few bought again."""

    buying: Buying
    buying_log_likelihood: float
    spending: Spending | None
    spending_log_likelihood: float | None


def fit(customers: Customers) -> Fit:
    """Fit both models. Raises `Invalid` when fewer than 30 customers bought again: nothing can be said then."""
    repeaters = int((customers.repeats > 0).sum())
    if repeaters < MIN_REPEATERS:
        raise Invalid(f"{repeaters} customers bought again; at least {MIN_REPEATERS} are needed.", code="too_few")
    buying, likelihood = _largest(lambda at: _buying_likelihood(Buying(*at), customers), 4)
    paid = customers.amount > 0
    if int(paid.sum()) < MIN_REPEATERS:
        return Fit(Buying(*buying), likelihood, None, None)
    repeats, amount = customers.repeats[paid], customers.amount[paid]
    # In units of the mean amount: parameters are then of a size, whatever the currency.
    unit = float(amount.mean())
    spending, found = _largest(lambda at: _spending_likelihood(Spending(*at), repeats, amount / unit), 3)
    p, q, gamma = spending
    scaled = Spending(p, q, gamma * unit)
    return Fit(Buying(*buying), likelihood, scaled, found - len(amount) * math.log(unit))


def expected_from_start(buying: Buying, weeks: "Array") -> "Array":
    """Return the repeat purchases expected of somebody new within `weeks` of their first."""
    from scipy.special import hyp2f1

    r, alpha, a, b = _apart(buying)
    reached = hyp2f1(r, b, a + b - 1, weeks / (alpha + weeks))
    expected: Array = (a + b - 1) / (a - 1) * (1 - (alpha / (alpha + weeks)) ** r * reached)
    return expected


def expected(buying: Buying, customers: Customers, weeks: float) -> "Array":
    """Return the purchases expected of each customer in the next `weeks`."""
    import numpy as np
    from scipy.special import hyp2f1

    r, alpha, a, b = _apart(buying)
    x, known = customers.repeats, customers.known
    reached = hyp2f1(r + x, b + x, a + b + x - 1, weeks / (alpha + known + weeks))
    left = 1 - ((alpha + known) / (alpha + known + weeks)) ** (r + x) * reached
    found: Array = np.maximum((a + b + x - 1) / (a - 1) * left, 0) * alive(buying, customers)
    return found


def alive(buying: Buying, customers: Customers) -> "Array":
    """Return the probability that each customer is still one. It is 1 for whoever never bought again."""
    import numpy as np

    r, alpha, a, b = astuple(buying)
    x = customers.repeats
    odds = a / np.maximum(b + x - 1, 1e-9) * ((alpha + customers.known) / (alpha + customers.last)) ** (r + x)
    found: Array = 1 / (1 + np.where(x > 0, odds, 0))
    return found


def expected_amount(spending: Spending, customers: Customers) -> "Array":
    """Return the mean amount expected of each customer's next purchase: their own mean drawn towards everybody's."""
    p, q, gamma = astuple(spending)
    x = _paid(customers)
    found: Array = p * (gamma + customers.amount * x) / (p * x + q - 1)
    return found


def expected_value(fit: Fit, customers: Customers, weeks: float) -> "Array":
    """Return what each customer is expected to pay in the next `weeks`.

    Raises `Invalid` where amounts have no mean: too few are known, or they vary too much.
    """
    if fit.spending is None:
        raise Invalid("Too few repeat purchases have an amount to say what the next ones will be.", code="too_few")
    if fit.spending.q <= 1:
        raise Invalid("Amounts vary so much over customers that they have no mean.", code="no_mean")
    return expected(fit.buying, customers, weeks) * expected_amount(fit.spending, customers)


@dataclass(frozen=True)
class Simulated:
    """Draws of the future: of each customer (`lower` to `upper`) and of everybody together (each draw)."""

    lower: "Array"
    upper: "Array"
    totals: "Array"


def simulate(
    fit: Fit, customers: Customers, weeks: float, *, amounts: bool, share: float = 0.8, draws: int = 1000, seed: int = 7
) -> Simulated:
    """Draw what customers buy (or, with `amounts`, pay) in the next `weeks`, given what they did so far.

    Each draw takes a customer's own rate, drop-out and amounts as likely as they are after what was seen. `share` of a
    customer's draws lie between `lower` and `upper`, as many below as above; but where more than that are 0 nothing can
    lie below, and all that is left out lies above. Memory is bounded: customers go in chunks.
    """
    import numpy as np

    if amounts and fit.spending is None:
        raise Invalid("Too few repeat purchases have an amount: amounts cannot be drawn.", code="too_few")
    rng = np.random.default_rng(seed)
    bounds = ((1 - share) / 2, share, (1 + share) / 2)
    totals = np.zeros(draws)
    lower, upper = np.zeros(len(customers)), np.zeros(len(customers))
    for first in range(0, len(customers), step := max(1, _DRAWS_AT_ONCE // draws)):
        part = slice(first, first + step)
        drawn = _draw(fit, customers.part(part), weeks, rng, draws, amounts=amounts)
        totals += drawn.sum(axis=0)
        lower[part], from_zero, above = np.quantile(drawn, bounds, axis=1)
        upper[part] = np.where(lower[part] > 0, above, from_zero)
    return Simulated(lower, upper, totals)


def _draw(fit: Fit, customers: Customers, weeks: float, rng: Any, draws: int, *, amounts: bool) -> "Array":
    """Return (customers, draws) of purchases or of what is paid for them."""
    import numpy as np

    r, alpha, a, b = astuple(fit.buying)
    x = customers.repeats[:, None]
    shape = (len(customers), draws)
    living = rng.random(shape) < alive(fit.buying, customers)[:, None]
    rate = rng.gamma(r + x, 1 / (alpha + customers.known[:, None]), shape)
    leaving = np.clip(rng.beta(a, b + x, shape), 1e-12, 1)
    # Somebody leaves with the purchase after which they are gone: that one still counts.
    bought: Array = np.where(living, np.minimum(rng.poisson(rate * weeks), rng.geometric(leaving)), 0).astype(float)
    if not amounts or fit.spending is None:
        return bought
    p, q, gamma = astuple(fit.spending)
    paid = _paid(customers)
    scale = gamma + customers.amount * paid
    v = rng.gamma((q + p * paid)[:, None], 1 / scale[:, None], shape)
    spent: Array = np.where(bought > 0, rng.gamma(np.maximum(p * bought, 1e-9)) / v, 0)
    return spent


def _paid(customers: Customers) -> "Array":
    """Return how many repeat purchases an amount stands for."""
    import numpy as np

    return np.where(customers.amount > 0, customers.repeats, 0.0)


def _buying_likelihood(buying: Buying, customers: Customers) -> float:
    import numpy as np
    from scipy.special import betaln, gammaln

    r, alpha, a, b = astuple(buying)
    x, last, known = customers.repeats, customers.last, customers.known
    rates = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    stayed = betaln(a, b + x) - betaln(a, b) - (r + x) * np.log(alpha + known)
    left = betaln(a + 1, np.maximum(b + x - 1, 1e-9)) - betaln(a, b) - (r + x) * np.log(alpha + last)
    return float((rates + np.where(x > 0, np.logaddexp(stayed, left), stayed)).sum())


def _spending_likelihood(spending: Spending, repeats: "Array", amount: "Array") -> float:
    import numpy as np
    from scipy.special import gammaln

    p, q, gamma = astuple(spending)
    px = p * repeats
    found = gammaln(px + q) - gammaln(px) - gammaln(q) + q * np.log(gamma) + (px - 1) * np.log(amount)
    found += px * np.log(repeats) - (px + q) * np.log(gamma + amount * repeats)
    return float(found.sum())


def _largest(likelihood: Callable[[Any], float], count: int) -> tuple[tuple[float, ...], float]:
    """Return the positive parameters at which a log likelihood is largest, and its value there."""
    import numpy as np
    from scipy.optimize import minimize

    def loss(logs: Any) -> float:
        value = -likelihood(np.exp(logs))
        return value if np.isfinite(value) else 1e300

    bounds = [(-_BOUND, _BOUND)] * count
    starts = [np.zeros(count), np.full(count, 1.0)]
    exact = {"ftol": 1e-13, "gtol": 1e-9, "maxiter": 2_000, "maxfun": 100_000}
    found = min((minimize(loss, start, bounds=bounds, options=exact) for start in starts), key=lambda one: one.fun)
    return tuple(float(value) for value in np.exp(found.x)), -float(found.fun)


def _apart(buying: Buying) -> tuple[float, float, float, float]:
    """Return the parameters with `a` off 1, where the formulas divide by zero and their values do not jump."""
    r, alpha, a, b = astuple(buying)
    return r, alpha, a + 1e-6 if abs(a - 1) < 1e-6 else a, b
