"""Do predictions mean what they say, on an academy large enough to tell: against what is true, and what really came.

One night as the jobs run it: everything that happened by midnight is worked out, the models are trained, everybody is
scored. A small academy cannot tell: at 1,500 users the calibration slope is known to within 0.12.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain

import numpy as np
import pytest
import sqlalchemy as sa
from scipy.optimize import minimize

from oracle_lib import stages
from oracle_lib.analyze import measures
from oracle_lib.analyze.targets import AT_RISK_DAYS
from oracle_lib.analyze.training import TrainReport
from oracle_lib.clock import DAY, newest_closed_week, start_of
from oracle_lib.settings import Settings
from oracle_lib.simulate import Academy, load
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import predictions
from oracle_lib.window import Week, Window
from tests.conftest import fresh_database

SETTINGS = Settings(environment="test")
USERS, ACADEMY_DAYS, SEED = 3_000, 90, 11
# A Sunday: the night on which models are trained.
TODAY = date(2026, 3, 1)
CLOSED = TODAY - DAY


@dataclass(frozen=True)
class Night:
    """The academy, and the database as the night left it."""

    academy: Academy
    store: Store
    trained: dict[str, TrainReport]

    def said(self, target: str) -> dict[str, float]:
        """What is predicted of each user of whom the target is asked."""
        chosen = sa.select(predictions.c.user_id, predictions.c.probability).where(predictions.c.target == target)
        with self.store.transaction() as conn:
            return {user: float(probability) for user, probability in conn.execute(chosen)}


@pytest.fixture(scope="module")
def night(server: EmbeddedServer) -> Iterator[Night]:
    academy = Academy.make(USERS, ACADEMY_DAYS, TODAY, SEED)
    now = start_of(TODAY) + timedelta(hours=2)
    window = Window(first=CLOSED, last=CLOSED, now=now)
    with fresh_database(server) as url:
        store = Store(url)
        load(store, academy, now=start_of(TODAY))
        stages.rollup(store, window)
        stages.refresh(store, window)
        stages.classify(store, window, SETTINGS)
        trained = stages.train(store, Week(newest_closed_week(now), now), SETTINGS)
        assert not isinstance(trained, stages.Untouched)
        stages.score(store, window, SETTINGS)
        yield Night(academy, store, {one.target: one for one in trained})
        store.close()


def slope(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The slope of a logistic regression of what is true (0-1) on the logit of what was predicted: 1 is calibrated."""
    logit = np.log(predicted / (1 - predicted))

    def surprise(line: np.ndarray) -> float:
        told = line[0] + line[1] * logit
        return float(np.mean(np.logaddexp(0, told) - truth * told))

    return float(minimize(surprise, np.array([0.0, 1.0])).x[1])


def test_a_predicted_risk_is_the_true_one(night: Night) -> None:
    outlook = night.academy.outlook(CLOSED, SETTINGS.churn_horizon_days)
    asked = (np.datetime64(CLOSED) - outlook.last_active_on).astype(int) < AT_RISK_DAYS
    said = night.said("churn")
    # Kept with four decimals.
    predicted = np.clip([said[user] for user in outlook.user_id[asked].tolist()], 0.00005, 0.99995)
    truth = outlook.risk[asked]
    found = slope(predicted, truth)
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, len(truth), len(truth)) for _ in range(100))
    error = float(np.std([slope(predicted[some], truth[some]) for some in drawn]))
    straight = np.polyfit(predicted, truth, 1)[0]
    print(f"{len(truth)} users: slope {found:.3f} (standard error {error:.3f}), straight line {straight:.3f}")
    print(f"mean predicted {predicted.mean():.3f}, true {truth.mean():.3f}, came {outlook.churned[asked].mean():.3f}")
    assert error < 0.04
    assert 0.9 <= found <= 1.1


def happened(academy: Academy, event: str, days: int) -> set[str]:
    """Who really did it in the days after: the simulated future, which nothing that was predicted has seen."""
    found = chain.from_iterable(academy.events(TODAY, CLOSED + timedelta(days=days)))
    return {one["userId"] for one in map(json.loads, found) if one["event"] == event}


@pytest.mark.parametrize(
    ("target", "event"),
    [("completion", "course_complete"), ("upgrade", "upgrade"), ("referral", "referral_shared")],
)
def test_what_is_predicted_comes_more_often_to_those_of_whom_it_is_said(night: Night, target: str, event: str) -> None:
    assert night.trained[target].promoted, night.trained[target].note
    said = night.said(target)
    did = happened(night.academy, event, SETTINGS.prediction_horizon_days)
    predicted, outcome = np.array([*said.values()]), np.array([float(user in did) for user in said])
    told = measures.measure(predicted, outcome)
    (ranks, _), _ = measures.auc_intervals(predicted, predicted, outcome, np.arange(len(said)))
    base = told.base_rate * (1 - told.base_rate)
    print(f"{target}: {told.positives} of {told.rows} did; AUC {told.auc:.3f} ({ranks.lower:.3f}-{ranks.upper:.3f}),")
    print(f"Brier {told.brier:.4f}, of saying the base rate {base:.4f}; the backtest: {night.trained[target].note}")
    assert ranks.lower > 0.5
    assert told.brier < base
