"""How good predictions were: ranking, calibration, and how sure that is. scikit-learn is imported where it is used."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

_BINS = 10
_TOP_SHARE = 0.1
_DRAWS = 500


@dataclass(frozen=True)
class Bin:
    """A calibration bin, a tenth of the rows: how many, their mean prediction and the share to whom it happened."""

    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Metrics:
    """Predictions held against what happened. AUC 0.5 is chance; Brier and calibration error: smaller is better.

    The error is the mean distance of predicted and observed over the bins. `lift`: how much more often it happened to
    the tenth with the highest predictions than to all.
    """

    rows: int
    positives: int
    base_rate: float
    auc: float
    brier: float
    calibration_error: float
    lift: float
    bins: tuple[Bin, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with 95 %, by bootstrap over users."""

    lower: float
    upper: float


def measure(predicted: Any, outcome: Any) -> Metrics:
    """Measure predictions (0-1) against what happened (0 or 1); both one-dimensional and of one length."""
    import numpy as np
    from sklearn.metrics import brier_score_loss, roc_auc_score

    predicted, outcome = np.asarray(predicted, dtype=float), np.asarray(outcome, dtype=float)
    order = np.argsort(predicted, kind="stable")
    bins = tuple(
        Bin(len(part), float(predicted[part].mean()), float(outcome[part].mean()))
        for part in np.array_split(order, _BINS)
        if len(part)
    )
    error = sum(one.rows * abs(one.predicted - one.observed) for one in bins) / len(outcome)
    top = order[-max(1, round(len(order) * _TOP_SHARE)) :]
    return Metrics(
        rows=len(outcome),
        positives=int(outcome.sum()),
        base_rate=float(outcome.mean()),
        auc=float(roc_auc_score(outcome, predicted)),
        brier=float(brier_score_loss(outcome, predicted)),
        calibration_error=float(error),
        lift=float(outcome[top].mean() / outcome.mean()),
        bins=bins,
    )


@dataclass(frozen=True)
class Spread:
    """How predictions lie: the edges between bins, and the share of rows in each; an edge belongs to the bin above."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]


def spread(predicted: Any) -> Spread:
    """Return how predictions lie over tenths of the rows; fewer bins where many are alike."""
    import numpy as np

    predicted = np.round(np.asarray(predicted, dtype=float), 4)
    edges = np.unique(np.quantile(predicted, np.arange(1, _BINS) / _BINS))
    counts = np.bincount(np.searchsorted(edges, predicted, side="right"), minlength=len(edges) + 1)
    return Spread(tuple(map(float, edges)), tuple(map(float, counts / len(predicted))))


def auc_intervals(
    predicted: "Array", baseline: "Array", outcome: "Array", user: Any
) -> tuple[tuple[Interval, Interval], Interval]:
    """Return the intervals of two predictions' AUC, and of the first one's lead over the second.

    Users are drawn, with all their rows, 500 times with one seed: the same users for both.
    """
    import numpy as np

    _, whose = np.unique(user, return_inverse=True)
    rnd = np.random.default_rng(0)
    ranked = [_Ranked(one, outcome) for one in (predicted, baseline)]
    draws = np.empty((_DRAWS, len(ranked)))
    for number in range(_DRAWS):
        drawn = np.bincount(rnd.integers(0, whose.max() + 1, whose.max() + 1), minlength=whose.max() + 1)
        draws[number] = [one.auc(drawn[whose]) for one in ranked]
    return (_interval(draws[:, 0]), _interval(draws[:, 1])), _interval(draws[:, 0] - draws[:, 1])


class _Ranked:
    """Predictions in their order, so that the AUC of any weights of rows is one pass."""

    def __init__(self, predicted: "Array", outcome: "Array") -> None:
        import numpy as np

        self._order = np.argsort(predicted, kind="stable")
        values = np.asarray(predicted)[self._order]
        # Where a run of equal predictions starts.
        self._starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
        self._outcome = np.asarray(outcome, dtype=float)[self._order]

    def auc(self, weight: "np.ndarray[Any, Any]") -> float:
        """Return the share of pairs that are ranked right, ties counting half."""
        import numpy as np

        weights = weight[self._order]
        positive = np.add.reduceat(weights * self._outcome, self._starts)
        negative = np.add.reduceat(weights * (1 - self._outcome), self._starts)
        below = np.cumsum(negative) - negative / 2
        pairs = positive.sum() * negative.sum()
        return float((positive * below).sum() / pairs) if pairs else np.nan


def _interval(draws: "Array") -> Interval:
    import numpy as np

    lower, upper = np.nanquantile(draws, (0.025, 0.975))
    return Interval(float(lower), float(upper))
