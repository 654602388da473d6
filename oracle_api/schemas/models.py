"""Model versions and their figures. Probabilities and shares are 0-1 here: they are figures, not somebody's percent."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from oracle_api.schemas.words import Outgoing


class BinOut(Outgoing):
    """A tenth of the rows by prediction: the mean prediction, and the share to whom it happened."""

    rows: int
    predicted: float
    observed: float


class MetricsOut(Outgoing):
    """Figures on weeks that were not learned from; `aucOf` is that of every candidate and of the model that stood."""

    rows: int
    positives: int
    base_rate: float
    auc: float
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
