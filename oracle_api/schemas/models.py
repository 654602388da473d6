"""Model versions and their figures. Probabilities and shares are 0-1 here: they are figures, not somebody's percent."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from oracle_api.schemas.words import Outgoing, Percent


class BinOut(Outgoing):
    """A tenth of the rows by prediction: the mean prediction, and the share to whom it happened."""

    rows: int
    predicted: float
    observed: float


class IntervalOut(Outgoing):
    """Where a figure lies with 95 %."""

    lower: float
    upper: float


class MetricsOut(Outgoing):
    """Figures on weeks that were not learned from; `aucOf` is that of every candidate and of the model that stood.

    `leadInterval`: of the AUC's lead over that of recency alone.
    """

    rows: int
    positives: int
    base_rate: float
    auc: float
    auc_interval: IntervalOut | None = None
    lead_interval: IntervalOut | None = None
    brier: float
    calibration_error: float
    lift: float | None = None
    bins: list[BinOut]
    auc_of: Mapping[str, float] = {}


class ModelOut(Outgoing):
    """One version of a model."""

    id: UUID
    target: Literal["churn", "completion", "upgrade", "referral"]
    version: int
    kind: Literal["recency", "logistic", "boosting", "blend"]
    status: Literal["promoted", "held", "retired"]
    features: list[str]
    horizon_days: int
    trained_from: date
    trained_to: date
    metrics: MetricsOut
    note: str | None
    digest: str
    created_at: datetime


class ModelsOut(Outgoing):
    """Every version, by target, the newest first."""

    models: list[ModelOut]


class ModelCardOut(ModelOut):
    """One version and its card in Markdown."""

    card: str


class ContributionOut(Outgoing):
    """One factor: by how many percentage points it raises (or lowers) the probability against what is typical."""

    factor: str
    points: Percent
    text: str


class PredictionOut(Outgoing):
    """What one model says of a user: the probability in percent, and the factors that weigh most first."""

    target: Literal["churn", "completion", "upgrade", "referral"]
    probability: Percent
    model_id: UUID
    version: int
    contributions: list[ContributionOut]


class PredictionsOut(Outgoing):
    """What is predicted of a user; a target that is not asked of them, or has no model, is not there."""

    user_id: str
    predictions: list[PredictionOut]
