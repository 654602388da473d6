"""What was predicted of the academy's people, against what they really do afterwards: the simulator knows."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pytest
import sqlalchemy as sa

from oracle_lib.analyze import findings, measures, training, value_forecast
from oracle_lib.analyze.targets import AT_RISK_DAYS
from oracle_lib.clock import DAY
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import checks, models, past_scores, predictions, value_forecasts
from tests.academy.lived import LAST, SETTINGS, Life

CLOSED: date = LAST - DAY


@dataclass(frozen=True)
class AtRisk:
    """Users at risk at the end of the last closed day: as predicted that night, and as it came."""

    predicted: np.ndarray
    silent_days: np.ndarray
    churned: np.ndarray


@pytest.fixture(scope="module")
def at_risk(life: Life) -> AtRisk:
    with life.store.transaction() as conn:
        chosen = sa.select(predictions.c.user_id, predictions.c.probability).where(predictions.c.target == "churn")
        said = {user: float(probability) for user, probability in conn.execute(chosen)}
    outlook = life.academy.outlook(CLOSED, SETTINGS.churn_horizon_days)
    silent = (np.datetime64(CLOSED) - outlook.last_active_on).astype(int)
    asked = silent < AT_RISK_DAYS
    return AtRisk(
        predicted=np.array([said[user] for user in outlook.user_id[asked].tolist()]),
        silent_days=silent[asked],
        churned=outlook.churned[asked],
    )


def test_predictions_rank_who_leaves_as_well_as_promised(at_risk: AtRisk) -> None:
    told = measures.measure(at_risk.predicted, at_risk.churned)
    baseline = measures.measure(at_risk.silent_days / AT_RISK_DAYS, at_risk.churned)
    print(f"AUC {told.auc:.3f} on {told.rows} users, {told.positives} left; days of silence alone {baseline.auc:.3f}")
    assert told.rows > 500
    assert told.positives > 100
    assert told.auc >= 0.70
    assert told.auc >= baseline.auc - 0.005


def test_predictions_mean_what_they_say(at_risk: AtRisk) -> None:
    told = measures.measure(at_risk.predicted, at_risk.churned)
    bins = ", ".join(f"{one.predicted:.2f}/{one.observed:.2f}" for one in told.bins)
    print(f"calibration error {told.calibration_error:.3f}, Brier {told.brier:.3f}; predicted/observed {bins}")
    assert told.calibration_error < 0.08
    assert told.brier < told.base_rate * (1 - told.base_rate), "no better than saying the base rate of everybody"


def test_the_backtest_promised_what_came(life: Life, at_risk: AtRisk) -> None:
    with life.store.transaction() as conn:
        kept = conn.scalar(sa.select(models.c.metrics).where(models.c.status == "promoted", models.c.target == "churn"))
    came = measures.measure(at_risk.predicted, at_risk.churned)
    print(f"backtest AUC {kept['auc']:.3f}, calibration error {kept['calibration_error']:.3f}")
    assert abs(kept["auc"] - came.auc) < 0.06


def test_what_people_will_pay_is_not_forecast_where_they_buy_two_courses_and_are_done(life: Life) -> None:
    with life.store.engine.connect() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(value_forecasts)) == 0
        young = value_forecast.forecast(conn, CLOSED, settings=SETTINGS)
        tried = value_forecast.forecast(conn, CLOSED, settings=Settings(environment="test", ltv_horizon_days=28))
        conn.rollback()
    print(young.note, tried.note)
    assert (young.promoted, young.version) == (False, None)
    assert young.note.startswith("Too little history")
    assert not tried.promoted
    assert tried.note.startswith("Held back")


def test_of_what_too_little_was_seen_nothing_is_said_and_the_note_says_why(life: Life) -> None:
    with life.store.engine.connect() as conn:
        early = CLOSED - 50 * DAY
        trained = {one.target: one for one in training.train(conn, early, settings=SETTINGS)}
        conn.rollback()
    print(f"upgrade by {early}: {trained['upgrade'].note}")
    assert (trained["upgrade"].promoted, trained["upgrade"].version) == (False, None)
    assert trained["upgrade"].note.startswith("Too ")


def test_nothing_cries_wolf_while_the_academy_goes_on_as_before(life: Life) -> None:
    with life.store.transaction() as conn:
        asked = conn.execute(sa.select(checks)).all()
        assert findings.held_targets(conn) == frozenset()
        assert conn.scalar(sa.select(sa.func.count()).select_from(past_scores)) > 500
    print(*(f"{one.name}: {one.detail}" for one in asked), sep="\n")
    assert {one.name for one in asked if not one.passed} == set()
