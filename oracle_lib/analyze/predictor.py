"""What will happen: the probability that a user is lost, from a model that is measured before it is trusted.

The first model is honest and small: a logistic curve over the logarithm of the time since the last own act, fitted on
older moments, calibrated on later ones, measured on the latest. It is promoted only if its backtest holds; without one
the churn risk is a continuous recency score, and says so. Buckets of days would cost 0.04 to 0.16 of AUC on real logs.
Never for grading or admission. Definitions: `docs/metrics.md`.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import backtest
from oracle_lib.analyze.features import acted_between_expr, levels_state_expr, state_expr
from oracle_lib.analyze.measures import Metrics
from oracle_lib.observe import moments
from oracle_lib.observe.moments import Moments, OneDay
from oracle_lib.settings import Settings
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import History, compiled, overwrite, publish, run, scanning
from oracle_lib.storage.tables import models, predictions, segment_changes, segments, user_days

if TYPE_CHECKING:
    import pandas as pd

CHURN = "churn"
# Users silent for longer are lost already: predicting them again would flatter every figure.
AT_RISK_DAYS = 30
# Without a model: the risk of someone silent for so many days is 1 - 1/e.
_FALLBACK_DAYS = 14.0
_MOMENTS = 10
_MOMENT_STEP = timedelta(days=7)


@dataclass(frozen=True)
class TrainReport:
    """One training: what came of it, and the figures it rests on (None where there was too little to measure)."""

    target: str
    as_of: date
    promoted: bool
    version: int | None
    rows: int
    positives: int
    metrics: Metrics | None
    note: str


@dataclass(frozen=True)
class ScoreReport:
    """One scoring: users looked at, predictions and segments that changed, users by churn level, the model used."""

    as_of: date
    users: int
    written: int
    by_level: dict[str, int]
    model_version: int | None


@dataclass(frozen=True)
class Model:
    """A promoted model: probability = 1 / (1 + exp(-(intercept + slope * log(1 + recency))))."""

    id: str
    version: int
    intercept: float
    slope: float


def train(conn: Connection, as_of: date, *, settings: Settings) -> TrainReport:
    """Fit, calibrate and measure a churn model on what was known by `as_of`; promote it if it holds.

    A row of training is a user at risk at the end of a past day; the label, whether they did nothing in the horizon
    after it. Training twice on the same data makes no second version.
    """
    lock(conn, models.name)
    horizon = timedelta(days=settings.churn_horizon_days)
    days = _training_days(conn, as_of, horizon)
    rows = _training_rows(conn, days, horizon)
    fitted = backtest.fit(rows)
    positives = int(rows["churned"].sum()) if len(rows) else 0
    if fitted.curve is None:
        return TrainReport(CHURN, as_of, False, None, len(rows), positives, fitted.metrics, fitted.note)
    version = _store(conn, fitted.curve, fitted, days, horizon)
    return TrainReport(CHURN, as_of, fitted.holds, version, len(rows), positives, fitted.metrics, fitted.note)


def score(conn: Connection, as_of: date, *, settings: Settings, everyone: bool) -> ScoreReport:
    """Write the churn risk of every user (or of those who wait) as it stands on `as_of`, today so far.

    Publishes `predictions` when a model stands, and the churn fields of `segments` always. Idempotent. Queues the users
    it looked at for the rules. Needs `activity` and `segments` to stand for `as_of`.
    """
    lock(conn, predictions.name)
    work = queue.take_users(conn, "predictions")
    if everyone or queue.stands_for(conn, "predictions") != as_of:
        work = queue.EVERYONE
    model = promoted(conn)
    state = _so_far(state_expr(OneDay(as_of), work.users, current=True))
    if model is not None:
        publish(conn, predictions, _prediction_expr(state, model), key=("user_id", "target"))
    lock(conn, segments.name)
    risk = risk_expr(state, model).drop("as_of")
    history = History(segment_changes, ("churn_level",), as_of)
    done = overwrite(conn, segments, risk, key=("user_id",), history=history)
    queue.set_stands_for(conn, "predictions", as_of)
    queue.hand_on(conn, "rules", work)
    return ScoreReport(
        as_of=as_of,
        users=done.seen,
        written=done.written,
        by_level=_by_level(conn),
        model_version=model.version if model else None,
    )


def promoted(conn: Connection) -> Model | None:
    """Return the standing churn model; None when none has earned its place."""
    row = conn.execute(
        sa.select(models.c.id, models.c.version, models.c.parameters).where(
            models.c.target == CHURN, models.c.status == "promoted"
        )
    ).one_or_none()
    if row is None:
        return None
    return Model(str(row.id), row.version, row.parameters["intercept"], row.parameters["slope"])


def probability_expr(state: ibis.Table, model: Model | None) -> ibis.Value:
    """Return the probability of churn (0-1, four decimals) for rows of `features.state_expr`."""
    recency = ibis.greatest(state.recency, 0.0)
    if model is None:
        raw = 1.0 - (-recency / _FALLBACK_DAYS).exp()
    else:
        raw = 1.0 / (1.0 + (-(model.intercept + model.slope * (recency + 1.0).ln())).exp())
    return (raw * 10000).round().cast("float64") / 10000


def risk_expr(state: ibis.Table, model: Model | None) -> ibis.Table:
    """Return the churn fields of `segments` for rows of `state`."""
    risk = probability_expr(state, model)
    level = ibis.cases((risk < 0.25, "low"), (risk < 0.5, "medium"), (risk < 0.75, "high"), else_="critical")
    scored = state.mutate(churn_risk=risk, churn_level=level)
    return scored.select("as_of", "user_id", "churn_risk", "churn_level", churn_reason=_reason(scored))


def _so_far(state: ibis.Table) -> ibis.Table:
    """Measure silence to the end of the newest closed day: hours of today that have not been cannot be silent.

    The model learned from closed days; counting today to its end overstated nine of ten calibration bins.
    """
    return state.mutate(recency=ibis.greatest(state.recency - 1.0, 0.0))


def _reason(state: ibis.Table) -> ibis.Value:
    """Return in a word what most speaks for the risk; nothing where the risk is low."""
    return ibis.cases(
        (state.churn_level == "low", ibis.null("string")),
        ((state.refunds > 0) & (state.days_silent <= 30), "refund"),
        ((state.lesson_complete_total == 0) & (state.days_joined >= 7), "no_progress"),
        (state.quiz_fail_30d > 2 * state.quiz_pass_30d, "quiz_failures"),
        ((state.lesson_complete_7d == 0) & (state.acted_7d > 0), "stuck"),
        ((state.email_sent_90d >= 3) & (state.email_open_90d + state.email_click_90d == 0), "unresponsive"),
        else_="inactivity",
    )


def _prediction_expr(state: ibis.Table, model: Model) -> ibis.Table:
    return state.select(
        "user_id",
        target=ibis.literal(CHURN),
        probability=probability_expr(state, model),
        model_id=ibis.literal(model.id).cast("uuid"),
    )


def _training_days(conn: Connection, as_of: date, horizon: timedelta) -> list[date]:
    """Return past days, oldest first, whose label is known by `as_of`: one a week, as far back as there is data."""
    first = conn.scalar(sa.select(sa.func.min(user_days.c.day)).where(user_days.c.acted > 0))
    if first is None:
        return []
    days = [as_of - horizon - n * _MOMENT_STEP for n in range(_MOMENTS)]
    return sorted(day for day in days if day >= first + _MOMENT_STEP)


def _training_rows(conn: Connection, days: list[date], horizon: timedelta) -> "pd.DataFrame":
    """Return (as_of, recency, churned) of every user at risk on each of `days`."""
    looked_back = moments.keep(conn, days)
    with scanning(conn):
        rows = run(conn, compiled(training_expr(looked_back, horizon))).all()
    return backtest.frame(rows)


def training_expr(looked_back: Moments, horizon: timedelta) -> ibis.Table:
    """Return training rows: nothing in a row but its label knows what came after its moment."""
    state = levels_state_expr(looked_back)
    at_risk = state.filter((state.days_silent < AT_RISK_DAYS) & state.last_active_at.notnull())
    at_risk = at_risk.select("as_of", "user_id", "recency")
    came_back = acted_between_expr(looked_back, horizon)
    labelled = at_risk.left_join(came_back, ["as_of", "user_id"])
    return labelled.select("as_of", "user_id", "recency", churned=labelled.user_id_right.isnull())


def _store(
    conn: Connection, curve: backtest.Curve, fitted: backtest.Fitted, days: list[date], horizon: timedelta
) -> int:
    """Keep a fitted model as a new version, promoted or held; the same fit again is the version it already is."""
    standing = conn.execute(
        sa.select(models.c.version, models.c.parameters)
        .where(models.c.target == CHURN)
        .order_by(models.c.version.desc())
        .limit(1)
    ).one_or_none()
    parameters = {"intercept": curve.intercept, "slope": curve.slope, "horizon_days": horizon.days}
    if standing is not None and standing.parameters == parameters:
        return int(standing.version)
    version = 1 if standing is None else standing.version + 1
    if fitted.holds:
        conn.execute(
            sa.update(models).where(models.c.target == CHURN, models.c.status == "promoted").values(status="retired")
        )
    conn.execute(
        sa.insert(models).values(
            target=CHURN,
            version=version,
            kind="recency_logistic",
            status="promoted" if fitted.holds else "held",
            parameters=parameters,
            features=["recency"],
            trained_from=days[0],
            trained_to=days[-1] + horizon,
            metrics=fitted.metrics.as_json() if fitted.metrics else {},
            note=fitted.note,
        )
    )
    return version


def _by_level(conn: Connection) -> dict[str, int]:
    level = segments.c.churn_level
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(sa.select(level, sa.func.count()).group_by(level))}
    return {name: found.get(name, 0) for name in ("low", "medium", "high", "critical")}
