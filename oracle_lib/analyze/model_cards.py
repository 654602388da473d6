"""What is known of each model version: its figures, and a card that says in words what it is for and what not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import value_backtest
from oracle_lib.errors import NotFound
from oracle_lib.storage.tables import models

# By target, in the order in which they are listed.
_ASKS = {
    "churn": "whether a user who acted in the last 30 days does nothing in the next {days}",
    "completion": "whether a user who has completed a lesson, but no course, completes one in the next {days} days",
    "upgrade": "whether a user who has bought something upgrades in the next {days} days",
    "referral": "whether a user who acted in the last 30 days shares a referral in the next {days}",
    "ltv": "what a customer pays in the next {days} days, with an 80 % interval",
}
_KINDS = {
    "recency": "a logistic curve over the time since the last own act",
    "logistic": "a logistic regression over all features",
    "boosting": "gradient boosted trees over all features",
    "blend": "the mean of a logistic regression and gradient boosted trees",
    "bg_nbd": "BG/NBD for how often somebody buys and whether they are gone, Gamma-Gamma for how much",
}
_COLUMNS = tuple(
    models.c[name]
    for name in (
        "id",
        "target",
        "version",
        "kind",
        "status",
        "features",
        "trained_from",
        "trained_to",
        "metrics",
        "note",
        "digest",
        "created_at",
    )
)


@dataclass(frozen=True)
class ModelVersion:
    """One version and its figures.

    `metrics` is plain data: of the target `ltv` it is `value_backtest.ValueMetrics`, of the others `measures.Metrics`
    with the AUC of every candidate in `auc_of`.
    """

    id: UUID
    target: str
    version: int
    kind: str
    status: str
    features: Sequence[str]
    trained_from: date
    trained_to: date
    metrics: dict[str, Any]
    note: str | None
    digest: str
    created_at: datetime
    horizon_days: int

    @property
    def card(self) -> str:
        """Return the model card, in Markdown."""
        words = _OF_VALUE if self.target == "ltv" else _OF_PROBABILITY
        title = self.target.upper() if self.target == "ltv" else self.target.capitalize()
        learned = f"from {self.trained_from} to {self.trained_to}, {words.learned_from}"
        lines = [
            f"# {title}, version {self.version} ({self.status})",
            f"**Predicts** {_ASKS[self.target].format(days=self.horizon_days)}: {_KINDS[self.kind]}.",
            f"**Learned** {learned}. Features, of what users did and not of who they are: {', '.join(self.features)}.",
            f"**Figures** on the latest weeks, which it had not seen: {words.figures(self)}",
            f"**Why it is {self.status}**: {self.note}",
            f"**Limits**: it describes the weeks it learned from and is wrong where behaviour changes; {words.limits}.",
            "**Not for** grading, admission or level decisions. Never.",
        ]
        return "\n\n".join(lines)


@dataclass(frozen=True)
class _Words:
    """What a card says of one sort of model and not of the other."""

    learned_from: str
    limits: str
    figures: Callable[[ModelVersion], str]


def _figures(model: ModelVersion) -> str:
    told = model.metrics
    # A version of before candidates competed has no others.
    others = [f"{name} {auc:.3f}" for name, auc in told.get("auc_of", {}).items() if name != model.kind]
    interval = told.get("auc_interval")
    sure = f", 95 % from {interval['lower']:.3f} to {interval['upper']:.3f}" if interval else ""
    return (
        f"AUC {told['auc']:.3f}{sure} ({', '.join(others) or 'no other was tried'}), Brier {told['brier']:.4f}, "
        f"calibration error {told['calibration_error']:.3f}; {told['rows']:,} rows, {told['positives']:,} of them "
        "positive."
    )


def _value_figures(model: ModelVersion) -> str:
    told = model.metrics
    errors = {name: f"{error['mean_absolute']:,.2f}" for name, error in told["errors_of"].items()}
    others = ", ".join(f"{words} {errors[name]}" for name, words in value_backtest.BASELINES.items())
    off = "" if told["off_percent"] is None else f" ({told['off_percent']:+.1f} %)"
    held = "no interval above 0" if told["coverage"] is None else f"{told['coverage']:.1%} of the 80 % intervals held"
    return (
        f"{told['expected']:,.2f} expected (80 %: {told['lower']:,.2f} to {told['upper']:,.2f}) where "
        f"{told['actual']:,.2f} came{off}; {held}; mean absolute error {errors[model.kind]} ({others}); "
        f"{told['customers']:,} customers, {told['repeaters']:,} of them had bought again."
    )


_OF_PROBABILITY = _Words(
    learned_from="a row a week and user of whom it is asked",
    limits="a probability is right on average, not for one user; whoever has no events is judged by silence alone",
    figures=_figures,
)
_OF_VALUE = _Words(
    learned_from="a row a customer",
    limits="an interval knows nothing of how unsure the parameters are; first purchases are not foreseen, nor refunds "
    "of what was already bought",
    figures=_value_figures,
)


def listing(conn: Connection) -> list[ModelVersion]:
    """Return every version of every target, the newest first."""
    order = sa.case({target: place for place, target in enumerate(_ASKS)}, value=models.c.target)
    rows = conn.execute(_select().order_by(order, models.c.version.desc()))
    return [_version(row) for row in rows]


def get(conn: Connection, model_id: UUID) -> ModelVersion:
    """Return one version. Raises `NotFound`."""
    row = conn.execute(_select().where(models.c.id == model_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no model {model_id}.")
    return _version(row)


def _select() -> sa.Select[Any]:
    return sa.select(*_COLUMNS, models.c.parameters["horizon_days"].as_integer().label("horizon_days"))


def _version(row: sa.Row[Any]) -> ModelVersion:
    return ModelVersion(**row._asdict())
