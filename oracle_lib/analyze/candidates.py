"""Models that compete for a target: fitted on older rows, calibrated, compared on later ones, chosen or not.

A candidate has to rank later rows better than silence alone does, or it is not chosen: recency is a strong baseline,
and where positives are few everything else loses to it. What a row says must have been known at its moment.

Calibration: each candidate is fitted again and again without a fifth of the users, and what it says of those is held
against what happened (Platt), with the trend of the moments, which is followed for at most a tenth of the time it was
seen. A slice of its own for calibration costs rows and, where behaviour drifts, is past when it is used
(docs/architecture.md has figures). pandas and scikit-learn are imported where they are used.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[np.float64]]
    Places = np.ndarray[Any, np.dtype[np.int64]]

RECENCY, LOGISTIC, BOOSTING, BLEND = "recency", "logistic", "boosting", "blend"
# A candidate must rank so much better than recency to be worth its weight.
MARGIN = 0.01
# The mean of two errs less than either: another has to be better by so much to be taken instead.
TIE = 0.005
MIN_POSITIVES = 30
_FOLDS = 5
_LATER_SHARE = 0.25
# Fewer moments than this have no trend, and no earlier and later.
_MIN_MOMENTS = 5
_FOLLOWED = 0.1
_TINY = 1e-6


@dataclass(frozen=True)
class Rows:
    """Training or test rows: numbers by name (NaN: unknown), silence in days, whose, when, and what happened (0 or 1).

    `moment` orders rows in time, in any unit; `outcome` is empty where it is to be predicted.
    """

    features: "pd.DataFrame"
    recency: "Array"
    user: "Places"
    moment: "Array"
    outcome: "Array"

    def __len__(self) -> int:
        return len(self.features)

    @property
    def positives(self) -> int:
        """How often it happened."""
        return int(self.outcome.sum())

    def at(self, places: "Places") -> "Rows":
        """Return some of them."""
        features = self.features.iloc[places]
        return Rows(features, self.recency[places], self.user[places], self.moment[places], self.outcome[places])


@dataclass(frozen=True)
class Calibration:
    """probability = 1 / (1 + exp(-(level + steepness * logit + trend * position))).

    `position` of a moment is 0 at the first one of training and 1 at the last.
    """

    level: float
    steepness: float
    trend: float
    first: float
    last: float

    @property
    def now(self) -> dict[str, float]:
        """Level and steepness as far as the trend is followed: what holds for moments after those of training."""
        return {"level": self.level + self.trend * (1 + _FOLLOWED), "steepness": self.steepness}

    def apply(self, logits: "Array", moment: "Array") -> "Array":
        """Return probabilities."""
        import numpy as np

        position = np.clip(_position(moment, self.first, self.last), 0, 1 + _FOLLOWED)
        found: Array = 1 / (1 + np.exp(-(self.level + self.steepness * logits + self.trend * position)))
        return found


@dataclass(frozen=True)
class Candidate:
    """A fitted model: which kind, of which features, calibrated."""

    kind: str
    features: tuple[str, ...]
    parts: Mapping[str, Any]
    calibration: Calibration

    def probability(self, rows: Rows) -> "Array":
        """Return the probability (0-1) of each row."""
        logits = _mean([_logits(estimator, part, rows) for part, estimator in self.parts.items()])
        return self.calibration.apply(logits, rows.moment)


@dataclass(frozen=True)
class Choice:
    """The candidate that is used, why, and the figures on the held-out rows by which it was chosen: AUC by kind."""

    candidate: Candidate
    note: str
    auc: dict[str, float]


def choose(rows: Rows) -> Choice | None:
    """Fit every kind of candidate and return the one that earned it; None where there is too little to fit on."""
    if min(rows.positives, len(rows) - rows.positives) < MIN_POSITIVES:
        return None
    held_out = list(_held_out(rows))
    later = rows.at(_joined([later for _, later in held_out]))
    said: dict[str, list[Array]] = {kind: [] for kind in KINDS}
    for older, part in held_out:
        for kind, candidate in fit(rows.at(older)).items():
            said[kind].append(candidate.probability(rows.at(part)))
    auc = {kind: _auc(later.outcome, _joined(parts)) for kind, parts in said.items()}
    kind = best(auc)
    few = f"{later.positives} of {len(later)} held-out rows are positive"
    figures = f"{kind} ranks held-out rows at {auc[kind]:.3f}, recency at {auc[RECENCY]:.3f}; {few}."
    if later.positives >= MIN_POSITIVES and auc[kind] >= auc[RECENCY] + MARGIN:
        return Choice(fit(rows)[kind], f"Used: {figures}", auc)
    return Choice(fit(rows)[RECENCY], f"Recency is used instead: {figures}", auc)


def best(auc: Mapping[str, float]) -> str:
    """Return the kind that ranks best; the blend, unless another is clearly better."""
    return max(auc, key=lambda kind: auc[kind] + (TIE if kind == BLEND else 0.0))


def fit(rows: Rows) -> dict[str, Candidate]:
    """Fit every kind of candidate on all of `rows`; calibrate each on what it says of users it has not seen."""
    import numpy as np

    unseen = {part: np.zeros(len(rows)) for part in _MAKERS}
    for seen, left_out in _folds(rows):
        for part, estimator in _fitted(rows.at(seen)).items():
            unseen[part][left_out] = _logits(estimator, part, rows.at(left_out))
    whole = _fitted(rows)
    names = tuple(rows.features.columns)
    return {
        kind: Candidate(
            kind,
            names,
            {part: whole[part] for part in parts},
            _calibrated(_mean([unseen[part] for part in parts]), rows),
        )
        for kind, parts in KINDS.items()
    }


def _held_out(rows: Rows) -> Iterator[tuple["Places", "Places"]]:
    """Yield (places to fit on, places to measure on): the latest quarter, or users in turn where time says nothing."""
    import numpy as np

    moments = np.unique(rows.moment)
    if len(moments) < _MIN_MOMENTS:
        yield from _folds(rows)
        return
    order = np.sort(rows.moment)
    cut = max(order[int(len(order) * (1 - _LATER_SHARE))], moments[1])
    yield np.flatnonzero(rows.moment < cut), np.flatnonzero(rows.moment >= cut)


def _folds(rows: Rows) -> Iterator[tuple["Places", "Places"]]:
    """Yield (seen, left out) so that each user is left out once, the same way each time."""
    from sklearn.model_selection import GroupKFold

    splitter = GroupKFold(_FOLDS, shuffle=True, random_state=0)
    yield from splitter.split(rows.features, rows.outcome, groups=rows.user)


def _fitted(rows: Rows) -> dict[str, Any]:
    """Return the estimator of each part, fitted."""
    with _one_thread():
        return {part: make().fit(_inputs(part, rows), rows.outcome) for part, make in _MAKERS.items()}


def _logits(estimator: Any, part: str, rows: Rows) -> "Array":
    """Return the logits of one estimator, uncalibrated."""
    import numpy as np

    with _one_thread():
        said = np.clip(estimator.predict_proba(_inputs(part, rows))[:, 1], _TINY, 1 - _TINY)
    found: Array = np.log(said / (1 - said))
    return found


def _mean(logits: Sequence["Array"]) -> "Array":
    return sum(logits[1:], logits[0]) / len(logits)


def _one_thread() -> Any:
    """Keep boosting to one thread: two trainings on two cores wait for each other's threads a hundred times as long."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)


def _inputs(part: str, rows: Rows) -> Any:
    import numpy as np

    if part == RECENCY:
        return np.log1p(np.clip(rows.recency, 0, None)).reshape(-1, 1)
    return rows.features.to_numpy(dtype=float)


def _curve() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1e6)


def _logistic() -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(
        FunctionTransformer(_signed_log),
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=2_000),
    )


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=150,
        max_leaf_nodes=5,
        min_samples_leaf=100,
        l2_regularization=10.0,
        early_stopping=False,
        random_state=0,
    )


def _signed_log(values: "Array") -> "Array":
    """Return counts and days on a scale on which twice as much is a step, whatever the size."""
    import numpy as np

    found: Array = np.sign(values) * np.log1p(np.abs(values))
    return found


# What the candidates are made of, and which of it each kind is the mean of.
_MAKERS: dict[str, Callable[[], Any]] = {RECENCY: _curve, LOGISTIC: _logistic, BOOSTING: _boosting}
KINDS = {RECENCY: (RECENCY,), BLEND: (LOGISTIC, BOOSTING), LOGISTIC: (LOGISTIC,), BOOSTING: (BOOSTING,)}


def _calibrated(logits: "Array", rows: Rows) -> Calibration:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    first, last = float(rows.moment.min()), float(rows.moment.max())
    with_trend = len(np.unique(rows.moment)) >= _MIN_MOMENTS
    position = _position(rows.moment, first, last) if with_trend else np.zeros(len(rows))
    platt = LogisticRegression(C=1e6).fit(np.column_stack([logits, position]), rows.outcome)
    steepness, trend = (float(value) for value in platt.coef_[0])
    return Calibration(float(platt.intercept_[0]), steepness, trend if with_trend else 0.0, first, last)


def _position(moment: "Array", first: float, last: float) -> "Array":
    found: Array = (moment - first) / max(last - first, _TINY)
    return found


def _joined(parts: list[Any]) -> Any:
    import numpy as np

    return np.concatenate(parts)


def _auc(outcome: "Array", said: "Array") -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(outcome, said))
