"""The churn model: measured on weeks it has not seen, promoted only if it holds, blind to what came later."""

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import backtest, predictor
from oracle_lib.observe import activity, moments
from oracle_lib.storage import tables
from oracle_lib.storage.publish import compiled, run
from tests import world
from tests.conftest import NOW

TODAY = NOW.date()
DAYS = [date(2026, 1, 1) + timedelta(days=7 * week) for week in range(8)]


def training_rows(*, slope: float, intercept: float = -3.0, users: int = 400) -> pd.DataFrame:
    """Rows whose churn truly follows a curve of the given slope."""
    rng = np.random.default_rng(4)
    recency = rng.uniform(0, 29, size=len(DAYS) * users)
    probability = 1 / (1 + np.exp(-(intercept + slope * np.log1p(recency))))
    return pd.DataFrame(
        {
            "as_of": np.repeat(DAYS, users),
            "user_id": "u",
            "recency": recency,
            "churned": rng.random(len(recency)) < probability,
        }
    )


def fading(conn: Connection, users: int = 300) -> None:
    """Users who come every other day until a day of their own, then never again."""
    rng = np.random.default_rng(9)
    bodies = []
    for user in range(users):
        first = int(rng.integers(60, 110))
        stay = int(rng.exponential(45)) + 1
        days = range(first, max(first - stay, 0), -int(rng.integers(1, 4)))
        bodies += [
            world.event(f"u{user}", "login", NOW - timedelta(days=day), messageId=f"{user}-{day}") for day in days
        ]
    world.post(conn, bodies, NOW)
    activity.rollup(conn)


def test_a_true_curve_is_recovered_and_calibrated() -> None:
    fitted = backtest.fit(training_rows(slope=1.5))
    assert fitted.holds
    assert fitted.curve is not None
    assert fitted.curve.slope == pytest.approx(1.5, abs=0.2)
    assert fitted.metrics is not None
    assert fitted.metrics.calibration_error < 0.05


def test_where_recency_says_nothing_the_model_is_held_back() -> None:
    fitted = backtest.fit(training_rows(slope=0.0, intercept=-1.0))
    assert not fitted.holds
    assert "Held back" in fitted.note


@pytest.mark.parametrize("weeks", [1, 2])
def test_with_too_little_history_it_abstains_and_says_why(weeks: int) -> None:
    rows = training_rows(slope=1.5)
    fitted = backtest.fit(rows[rows["as_of"].isin(DAYS[:weeks])])
    assert fitted.curve is None
    assert "Too little history" in fitted.note


def test_training_promotes_one_version_and_twice_makes_no_second(conn: Connection) -> None:
    fading(conn)
    first = predictor.train(conn, TODAY, settings=world.SETTINGS)
    again = predictor.train(conn, TODAY, settings=world.SETTINGS)
    assert first.promoted
    assert first.metrics is not None
    assert first.metrics.auc > 0.6
    assert again.version == first.version == 1
    stored = conn.execute(sa.select(tables.models.c.status, tables.models.c.metrics)).all()
    assert [row.status for row in stored] == ["promoted"]
    assert stored[0].metrics["auc"] == first.metrics.auc


def test_nothing_after_a_moment_changes_its_training_rows_but_their_label(conn: Connection, now: datetime) -> None:
    fading(conn)
    cut = TODAY - timedelta(days=30)
    looked_back = moments.keep(conn, [cut])
    horizon = timedelta(days=14)
    query = compiled(predictor.training_expr(looked_back, horizon))
    with_future = sorted((row.user_id, row.recency) for row in run(conn, query))
    conn.execute(sa.delete(tables.user_days).where(tables.user_days.c.day > cut))
    without = sorted((row.user_id, row.recency) for row in run(conn, query))
    assert with_future == without
    assert len(without) > 50


def test_scores_are_those_of_the_promoted_curve_and_the_segment_shows_them(conn: Connection) -> None:
    fading(conn)
    predictor.train(conn, TODAY, settings=world.SETTINGS)
    world.run_stages(conn, TODAY, everyone=True)
    model = predictor.promoted(conn)
    assert model is not None
    row = conn.execute(
        sa.select(tables.activity.c.last_active_at, tables.segments.c.churn_risk, tables.predictions.c.probability)
        .join(tables.segments, tables.segments.c.user_id == tables.activity.c.user_id)
        .join(tables.predictions, tables.predictions.c.user_id == tables.activity.c.user_id)
        .limit(1)
    ).one()
    today = datetime.combine(TODAY, datetime.min.time(), tzinfo=NOW.tzinfo)
    recency = max((today - row.last_active_at) / timedelta(days=1), 0)
    expected = 1 / (1 + np.exp(-(model.intercept + model.slope * np.log1p(recency))))
    assert row.churn_risk == row.probability == pytest.approx(expected, abs=1e-4)


def test_without_a_model_longer_silence_is_higher_risk_without_steps(conn: Connection) -> None:
    silences = [1 + 0.5 * n for n in range(60)]
    bodies = [world.event(f"u{n}", "login", NOW - timedelta(days=days)) for n, days in enumerate(silences)]
    world.post(conn, bodies, NOW)
    world.run_stages(conn, TODAY)
    risks = [
        conn.scalar(sa.select(tables.segments.c.churn_risk).where(tables.segments.c.user_id == f"u{n}"))
        for n in range(len(silences))
    ]
    assert risks == sorted(set(risks))
    assert conn.scalar(sa.select(sa.func.count()).select_from(tables.predictions)) == 0
