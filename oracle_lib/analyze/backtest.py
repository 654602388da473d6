"""Lets the candidates compete for a target: fitted on older moments, measured on the latest, promoted or held back.

The older three quarters of the moments fit and calibrate, the latest quarter measures (up to half, where something is
seldom seen), and nothing is fitted again after that: what is promoted is what was measured. scikit-learn and pandas are
imported where they are used.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from oracle_lib.analyze import candidates
from oracle_lib.analyze.candidates import MARGIN, RECENCY, Candidate, Rows
from oracle_lib.analyze.measures import Interval, Metrics, Spread, auc_intervals, measure, spread

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

    `auc` is that of every candidate, and of the standing model, on the latest moments; `auc_interval` that of the best,
    and `lead_interval` of its lead over recency, by bootstrap over users. `spread` is how its predictions lie there.
    """

    candidate: Candidate | None
    metrics: Metrics | None
    holds: bool
    note: str
    auc: dict[str, float] = field(default_factory=dict)
    auc_interval: Interval | None = None
    lead_interval: Interval | None = None
    spread: Spread | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        figures = {name: getattr(self, name) for name in ("auc_interval", "lead_interval", "spread")}
        shown = {name: asdict(value) for name, value in figures.items() if value is not None}
        return {**(self.metrics.as_json() if self.metrics else {}), "auc_of": self.auc, **shown}


def fit(rows: Rows, standing: "Array | None" = None) -> Fitted:
    """Fit on the older moments and measure on the latest; abstain, with the reason, where there is too little.

    `standing` is what the promoted model says of each row: a new one has to be better on the latest ones.
    """
    import numpy as np

    moments = np.unique(rows.moment)
    if len(moments) < MIN_MOMENTS:
        note = f"Too little history: {len(moments)} past weeks with a known outcome; needs {MIN_MOMENTS}."
        return Fitted(None, None, False, note)
    cut = _first_of_the_latest(rows, moments)
    older, latest = np.flatnonzero(rows.moment < cut), np.flatnonzero(rows.moment >= cut)
    for name, part in (("to fit", rows.at(older)), ("to measure", rows.at(latest))):
        if len(part) < MIN_ROWS or not MIN_POSITIVES <= part.positives <= len(part) - MIN_POSITIVES:
            return Fitted(None, None, False, f"Too few {name}: {len(part)} rows, {part.positives} of them positive.")
    return _compete(rows, older, latest, None if standing is None else standing[latest])


def _first_of_the_latest(rows: Rows, moments: "Array") -> float:
    """Return where the latest moments begin: a quarter of all, up to half where so few show too little."""
    import numpy as np

    fewest, most = max(1, round(len(moments) * _LATER_SHARE)), max(1, len(moments) // 2)
    for count in range(fewest, most):
        latest = rows.at(np.flatnonzero(rows.moment >= moments[-count]))
        if len(latest) >= MIN_ROWS and latest.positives >= MIN_POSITIVES:
            return float(moments[-count])
    return float(moments[-max(fewest, most)])


def _compete(rows: Rows, older: "Places", latest: "Places", standing: "Array | None") -> Fitted:
    later = rows.at(latest)
    fitted = candidates.fit(rows.at(older))
    said = {kind: one.probability(later) for kind, one in fitted.items()}
    measured = {kind: measure(one, later.outcome) for kind, one in said.items()}
    auc = {kind: one.auc for kind, one in measured.items()}
    kind = candidates.best(auc)
    kind = kind if auc[kind] >= auc[RECENCY] + MARGIN else RECENCY
    stands = None if standing is None else measure(standing, later.outcome)
    if stands is not None:
        auc["standing"] = stands.auc
    holds, note = _verdict(kind, measured, stands)
    (own, _), lead = auc_intervals(said[kind], said[RECENCY], later.outcome, later.user)
    return Fitted(fitted[kind], measured[kind], holds, note, auc, own, lead, spread(said[kind]))


def _verdict(kind: str, measured: dict[str, Metrics], stands: Metrics | None) -> tuple[bool, str]:
    """Say whether the best candidate is good enough, and better than the model that stands; and why."""
    told = measured[kind]
    said = f"{kind} ranks the latest weeks at {told.auc:.3f}, recency at {measured[RECENCY].auc:.3f}"
    if told.auc < MIN_AUC:
        return False, f"Held back: {said}; {MIN_AUC} is needed."
    if stands is not None and told.brier >= stands.brier:
        figures = f"its Brier score is {told.brier:.4f}, that of the standing model {stands.brier:.4f}"
        return False, f"Held back: {said}, but {figures}."
    return True, f"Holds: {said}."
