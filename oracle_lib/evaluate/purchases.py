"""The lifetime value models on a list of purchases: fitted up to a day, held against what was bought after it."""

import csv
import gzip
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from oracle_lib.analyze import lifetime_value
from oracle_lib.analyze.lifetime_value import Buying, Customers, Spending
from oracle_lib.errors import Invalid

_DAYS_A_WEEK = 7
_SHARE = 0.9


@dataclass(frozen=True)
class Columns:
    """Where a file says who bought, when and for how much: names of a header, or numbers from 0 without one."""

    user: str
    date: str
    amount: str


@dataclass(frozen=True)
class Forecast:
    """What was expected of all customers, 90 % interval, and what came."""

    expected: float
    lower: float
    upper: float
    actual: float

    @property
    def off_percent(self) -> float:
        """By how much the expectation missed, in percent of what came."""
        return 100 * (self.expected / self.actual - 1) if self.actual else math.nan


@dataclass(frozen=True)
class PurchaseReport:
    """One evaluation. Totals count repeat purchases: days with purchases after a customer's first.

    `week` counts from the first purchase in the file to its last day; `total_*` is everything up to then, as expected
    of new customers. `purchases` and `revenue` are what was to come after the calibration, given what was seen.
    """

    customers: int
    calibration_weeks: float
    buying: Buying
    log_likelihood: float
    spending: Spending | None
    week: int
    total_expected: float
    total_actual: int
    total_off_percent: float
    purchases: Forecast
    revenue: Forecast | None
    customers_within: float


Days = Mapping[date, float]


def evaluate(path: Path, columns: Columns, calibration_end: date) -> PurchaseReport:
    """Fit on purchases up to `calibration_end` (included) and measure on the later ones.

    Raises `Invalid` with the place in the file for a row that cannot be read, and when nothing is left to measure on.
    """
    import numpy as np

    bought = _by_customer(path, columns)
    came = {user: days for user, days in bought.items() if min(days) <= calibration_end}
    end = max(max(days) for days in bought.values())
    if end <= calibration_end:
        raise Invalid(f"The last purchase is of {end}: nothing lies after {calibration_end}.", field="calibration-end")
    customers = _customers(list(came.values()), calibration_end)
    fit = lifetime_value.fit(customers)
    known = np.array([(end - min(days)).days / _DAYS_A_WEEK for days in came.values()])
    total = float(lifetime_value.expected_from_start(fit.buying, known).sum())
    actual = sum(len(days) - 1 for days in came.values())
    later = [{day: paid for day, paid in days.items() if day > calibration_end} for days in came.values()]
    ahead = (end - calibration_end).days / _DAYS_A_WEEK
    counts = lifetime_value.simulate(fit, customers, ahead, amounts=False, share=_SHARE)
    came_later = np.array([len(days) for days in later], dtype=float)
    expected = lifetime_value.expected(fit.buying, customers, ahead)
    revenue = None
    if fit.spending is not None:
        drawn = lifetime_value.simulate(fit, customers, ahead, amounts=True, share=_SHARE)
        worth = expected * lifetime_value.expected_amount(fit.spending, customers)
        revenue = _forecast(float(worth.sum()), drawn.totals, sum(sum(days.values()) for days in later))
    first = min(min(days) for days in bought.values())
    return PurchaseReport(
        customers=len(customers),
        calibration_weeks=((calibration_end - first).days + 1) / _DAYS_A_WEEK,
        buying=fit.buying,
        log_likelihood=fit.buying_log_likelihood,
        spending=fit.spending,
        week=round(((end - first).days + 1) / _DAYS_A_WEEK),
        total_expected=total,
        total_actual=actual,
        total_off_percent=100 * (total / actual - 1),
        purchases=_forecast(float(expected.sum()), counts.totals, float(came_later.sum())),
        revenue=revenue,
        customers_within=float(((counts.lower <= came_later) & (came_later <= counts.upper)).mean()),
    )


def _forecast(expected: float, totals: "lifetime_value.Array", actual: float) -> Forecast:
    import numpy as np

    lower, upper = np.quantile(totals, ((1 - _SHARE) / 2, (1 + _SHARE) / 2))
    return Forecast(expected, float(lower), float(upper), actual)


def _customers(bought: Sequence[Days], until: date) -> Customers:
    """Sum up what customers did until a day, included."""
    import numpy as np

    repeats, last, known, amount = [], [], [], []
    for days in bought:
        first = min(days)
        again = [day for day in days if first < day <= until]
        paid = sum(days[day] for day in again)
        repeats.append(len(again))
        last.append((max(again, default=first) - first).days / _DAYS_A_WEEK)
        known.append((until - first).days / _DAYS_A_WEEK)
        amount.append(max(paid / len(again), 0.0) if again else 0.0)
    return Customers(*(np.array(values, dtype=float) for values in (repeats, last, known, amount)))


def _by_customer(path: Path, columns: Columns) -> dict[str, dict[date, float]]:
    """Return what each customer paid on each day on which they bought."""
    bought: dict[str, dict[date, float]] = defaultdict(dict)
    for place, user, day, amount in _rows(path, columns):
        try:
            on, paid = datetime.fromisoformat(day).date(), float(amount)
        except ValueError as error:
            raise Invalid(f"{place}: {error}. Dates are YYYY-MM-DD or YYYYMMDD, amounts numbers.") from error
        if not math.isfinite(paid):
            raise Invalid(f"{place}: the amount {amount!r} is no number.", field=columns.amount)
        bought[user][on] = bought[user].get(on, 0.0) + paid
    if not bought:
        raise Invalid(f"{path.name} has no rows.")
    return dict(bought)


def _rows(path: Path, columns: Columns) -> Iterator[tuple[str, str, str, str]]:
    """Yield (place, user, date, amount) of each row."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = io.StringIO(text.decode("utf-8-sig"))
    commas = "," in text.decode("utf-8-sig").partition("\n")[0]
    cells = csv.reader(lines) if commas else (line.split() for line in lines)
    named = (columns.user, columns.date, columns.amount)
    places = None
    if all(name.isdecimal() for name in named):
        places = [int(name) for name in named]
    for number, row in enumerate(cells, start=1):
        if not row:
            continue
        if places is None:
            missing = [name for name in named if name not in row]
            if missing:
                raise Invalid(f"{path.name} has no column {missing[0]}; it has {', '.join(row)}.", field=missing[0])
            places = [row.index(name) for name in named]
            continue
        if len(row) <= max(places):
            raise Invalid(f"{path.name}, line {number}: {len(row)} columns, column {max(places)} is asked for.")
        user, day, amount = (row[place].strip() for place in places)
        if number == 1 and not any(letter.isdecimal() for letter in day + amount):
            continue  # a header, though columns are given by number
        yield f"{path.name}, line {number}", user, day, amount
