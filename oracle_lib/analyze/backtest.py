"""Lets the candidates compete for a target: fitted on older moments, measured on the latest, promoted or held back.

The older three quarters of the moments fit and calibrate, the latest quarter measures, and nothing is fitted again
after that: what is promoted is what was measured. scikit-learn and pandas are imported where they are used.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oracle_lib.analyze import candidates
from oracle_lib.analyze.candidates import MARGIN, RECENCY, Candidate, Rows
from oracle_lib.analyze.measures import Metrics, measure

if TYPE_CHECKING:
    from oracle_lib.analyze.candidates import Array, Places

MIN_MOMENTS = 3
MIN_ROWS = 200
MIN_POSITIVES = 30
# A model that ranks no better than this is not worth acting on.
MIN_AUC = 0.55
_LATER_SHARE = 0.25


@dataclass(frozen=True)
class Fitted:
    """A backtest: the best candidate and its figures, whether it may be trusted, and why or why not.

    `auc` is that of every candidate, and of the standing model, on the latest moments.
    """

    candidate: Candidate | None
    metrics: Metrics | None
    holds: bool
    note: str
    auc: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {**(self.metrics.as_json() if self.metrics else {}), "auc_of": self.auc}


def fit(rows: Rows, standing: "Array | None" = None) -> Fitted:
    """Fit on the older moments and measure on the latest; abstain, with the reason, where there is too little.

    `standing` is what the promoted model says of each row: a new one has to be better on the latest ones.
    """
    import numpy as np

    moments = np.unique(rows.moment)
    if len(moments) < MIN_MOMENTS:
        note = f"Too little history: {len(moments)} past weeks with a known outcome; needs {MIN_MOMENTS}."
        return Fitted(None, None, False, note)
    cut = moments[-max(1, round(len(moments) * _LATER_SHARE))]
    older, latest = np.flatnonzero(rows.moment < cut), np.flatnonzero(rows.moment >= cut)
    for name, part in (("to fit", rows.at(older)), ("to measure", rows.at(latest))):
        if len(part) < MIN_ROWS or not MIN_POSITIVES <= part.positives <= len(part) - MIN_POSITIVES:
            return Fitted(None, None, False, f"Too few {name}: {len(part)} rows, {part.positives} of them positive.")
    return _compete(rows, older, latest, None if standing is None else standing[latest])


def _compete(rows: Rows, older: "Places", latest: "Places", standing: "Array | None") -> Fitted:
    later = rows.at(latest)
    fitted = candidates.fit(rows.at(older))
    measured = {kind: measure(one.probability(later), later.outcome) for kind, one in fitted.items()}
    auc = {kind: one.auc for kind, one in measured.items()}
    kind = candidates.best(auc)
    kind = kind if auc[kind] >= auc[RECENCY] + MARGIN else RECENCY
    told = measured[kind]
    said = f"{kind} ranks the latest weeks at {told.auc:.3f}, recency at {auc[RECENCY]:.3f}"
    if told.auc < MIN_AUC:
        return Fitted(fitted[kind], told, False, f"Held back: {said}; {MIN_AUC} is needed.", auc)
    if standing is not None:
        stands = measure(standing, later.outcome)
        auc["standing"] = stands.auc
        if told.brier >= stands.brier:
            figures = f"its Brier score is {told.brier:.4f}, that of the standing model {stands.brier:.4f}"
            return Fitted(fitted[kind], told, False, f"Held back: {said}, but {figures}.", auc)
    return Fitted(fitted[kind], told, True, f"Holds: {said}.", auc)
