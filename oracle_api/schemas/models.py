"""Model versions and their figures. Probabilities and shares are 0-1 here: they are figures, not somebody's percent.

A model that says whether something happens and one that says how much is paid are measured by different figures.
"""

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


class ErrorsOut(Outgoing):
    """By how much a forecast misses a customer: the mean distance, and the root of the mean squared one."""

    mean_absolute: float
    root_mean_square: float


class GroupOut(Outgoing):
    """Customers with about as many purchases: what was expected of them all, and what came, in the currency."""

    purchases: str
    customers: int
    expected: float
    actual: float


class ValueMetricsOut(Outgoing):
    """Figures of a value forecast on the `days` it was tried on, in the currency.

    `lower` to `upper` is the 80 % interval of the total, `offPercent` by how much the total missed (null where nothing
    came), `coverage` the share of the `withInterval` customers with an interval above 0 for whom it held. `errorsOf` is
    that of the model and of what it was compared with.
    """

    customers: int
    repeaters: int
    days: int
    expected: float
    lower: float
    upper: float
    actual: float
    off_percent: float | None
    coverage: float | None
    with_interval: int
    errors_of: Mapping[str, ErrorsOut]
    groups: list[GroupOut]


class ModelOut(Outgoing):
    """One version of a model; `metrics` are a forecast's for the target `ltv`, a probability's for the others."""

    id: UUID
    target: Literal["churn", "completion", "upgrade", "referral", "ltv"]
    version: int
    kind: Literal["recency", "logistic", "boosting", "blend", "bg_nbd"]
    status: Literal["promoted", "held", "retired"]
    features: list[str]
    horizon_days: int
    trained_from: date
    trained_to: date
    metrics: MetricsOut | ValueMetricsOut
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
