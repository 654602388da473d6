"""What is known of each model version: its figures, and a card that says in words what it is for and what not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import NotFound
from oracle_lib.storage.tables import models

# By target, in the order in which they are listed.
_ASKS = {
    "churn": "whether a user who acted in the last 30 days does nothing in the next {days}",
    "completion": "whether a user who has completed a lesson, but no course, completes one in the next {days} days",
    "upgrade": "whether a user who has bought something upgrades in the next {days} days",
    "referral": "whether a user who acted in the last 30 days shares a referral in the next {days}",
}
_KINDS = {
    "recency": "a logistic curve over the time since the last own act",
    "logistic": "a logistic regression over all features",
    "boosting": "gradient boosted trees over all features",
    "blend": "the mean of a logistic regression and gradient boosted trees",
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
    """One version. `metrics` is `measures.Metrics` as plain data, with the AUC of every candidate in `auc_of`."""

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
        asks = _ASKS[self.target].format(days=self.horizon_days)
        learned = f"from {self.trained_from} to {self.trained_to}, a row a week and user of whom it is asked"
        limits = (
            "it describes the weeks it learned from and is wrong where behaviour changes; a probability is right on "
            "average, not for one user; whoever has no events is judged by their silence alone"
        )
        lines = [
            f"# {self.target.capitalize()}, version {self.version} ({self.status})",
            f"**Predicts** {asks}: {_KINDS[self.kind]}.",
            f"**Learned** {learned}. Features, of what users did and not of who they are: {', '.join(self.features)}.",
            f"**Figures** on the latest weeks, which it had not seen: {self._figures()}",
            f"**Why it is {self.status}**: {self.note}",
            f"**Limits**: {limits}.",
            "**Not for** grading, admission or level decisions. Never.",
        ]
        return "\n\n".join(lines)

    def _figures(self) -> str:
        told = self.metrics
        # A version of before candidates competed has no others.
        others = [f"{name} {auc:.3f}" for name, auc in told.get("auc_of", {}).items() if name != self.kind]
        interval = told.get("auc_interval")
        sure = f", 95 % from {interval['lower']:.3f} to {interval['upper']:.3f}" if interval else ""
        return (
            f"AUC {told['auc']:.3f}{sure} ({', '.join(others) or 'no other was tried'}), Brier {told['brier']:.4f}, "
            f"calibration error {told['calibration_error']:.3f}; {told['rows']:,} rows, {told['positives']:,} of them "
            "positive."
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
