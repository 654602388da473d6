"""Fits the recency curve and measures it on moments it has not seen: older, later, latest.

The oldest six tenths of the moments fit the curve, the next two calibrate it (Platt), the latest two measure it. scikit
learn and pandas are imported where they are used: most of what imports this file only scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oracle_lib.analyze.measures import Metrics, measure

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 200
MIN_POSITIVES = 30
# A model that ranks no better than this is not worth acting on.
MIN_AUC = 0.55


@dataclass(frozen=True)
class Curve:
    """p = 1 / (1 + exp(-(intercept + slope * log(1 + recency)))), recency in days."""

    intercept: float
    slope: float


@dataclass(frozen=True)
class Fitted:
    """A fit: the curve and its backtest, whether it may be trusted, and why or why not."""

    curve: Curve | None
    metrics: Metrics | None
    holds: bool
    note: str


def frame(rows: Sequence[Any]) -> "pd.DataFrame":
    """Return training rows (as_of, user_id, recency, churned) as a frame."""
    import pandas as pd

    return pd.DataFrame([tuple(row) for row in rows], columns=["as_of", "user_id", "recency", "churned"])


def fit(rows: "pd.DataFrame") -> Fitted:
    """Fit, calibrate and measure on a time split; abstain, with the reason, where there is too little."""
    days = sorted(rows["as_of"].unique())
    if len(days) < 3:
        return Fitted(None, None, False, f"Too little history: {len(days)} past weeks with a known outcome; needs 3.")
    fit_until, calibrate_until = _cuts(len(days))
    parts = (days[:fit_until], days[fit_until:calibrate_until], days[calibrate_until:])
    older, later, latest = (rows[rows["as_of"].isin(part)] for part in parts)
    for name, part in (("to fit", older), ("to calibrate", later), ("to measure", latest)):
        positives = int(part["churned"].sum())
        if len(part) < MIN_ROWS or not MIN_POSITIVES <= positives <= len(part) - MIN_POSITIVES:
            return Fitted(None, None, False, f"Too few {name}: {len(part)} rows, {positives} of them churned.")
    curve = _calibrated(_logistic(_log(older), older["churned"]), later)
    metrics = measure(_probability(curve, latest), latest["churned"].to_numpy())
    holds = metrics.auc >= MIN_AUC and curve.slope > 0
    note = "Holds on the latest weeks." if holds else f"Held back: AUC {metrics.auc:.3f}, slope {curve.slope:.3f}."
    return Fitted(curve, metrics, holds, note)


def _cuts(count: int) -> tuple[int, int]:
    fit_until = max(1, round(count * 0.6))
    return fit_until, min(count - 1, max(fit_until + 1, round(count * 0.8)))


def _log(rows: "pd.DataFrame") -> Any:
    import numpy as np

    return np.log1p(np.clip(rows["recency"].to_numpy(dtype=float), 0, None)).reshape(-1, 1)


def _logistic(inputs: Any, churned: "pd.Series") -> Curve:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6).fit(inputs, churned.to_numpy(dtype=int))
    return Curve(float(model.intercept_[0]), float(model.coef_[0][0]))


def _calibrated(curve: Curve, later: "pd.DataFrame") -> Curve:
    """Correct the curve's level and steepness on later rows (Platt scaling of its logit)."""
    logit = curve.intercept + curve.slope * _log(later)
    scale = _logistic(logit, later["churned"])
    return Curve(round(scale.intercept + scale.slope * curve.intercept, 6), round(scale.slope * curve.slope, 6))


def _probability(curve: Curve, rows: "pd.DataFrame") -> Any:
    import numpy as np

    return 1 / (1 + np.exp(-(curve.intercept + curve.slope * _log(rows)[:, 0])))
