"""The churn model: measured on weeks it has not seen, promoted only if it holds, blind to what came later."""

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import backtest, predictor, training
from oracle_lib.analyze.candidates import Rows
from oracle_lib.analyze.targets import TARGETS, Target
from oracle_lib.analyze.training import TrainReport
from oracle_lib.errors import Permanent
from oracle_lib.observe import activity, moments
from oracle_lib.storage import tables
from oracle_lib.storage.publish import compiled, run
from tests import world
from tests.conftest import NOW

TODAY = NOW.date()
DAYS = [date(2026, 1, 1) + timedelta(days=7 * week) for week in range(8)]


def training_rows(*, slope: float, intercept: float = -3.0, users: int = 400) -> Rows:
    """Rows whose outcome truly follows a curve of the given slope."""
    rng = np.random.default_rng(4)
    recency = rng.uniform(0, 29, size=len(DAYS) * users)
    probability = 1 / (1 + np.exp(-(intercept + slope * np.log1p(recency))))
    return Rows(
        features=pd.DataFrame({"recency": recency, "noise": rng.normal(size=len(recency))}),
        recency=recency,
        user=np.tile(np.arange(users), len(DAYS)),
        moment=np.repeat([float(day.toordinal()) for day in DAYS], users),
        outcome=(rng.random(len(recency)) < probability).astype(float),
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
    assert fitted.candidate is not None
    # Nothing beats the truth: the curve of silence is kept.
    assert fitted.candidate.kind == "recency"
    assert fitted.metrics is not None
    assert fitted.metrics.calibration_error < 0.05


def test_where_recency_says_nothing_the_model_is_held_back() -> None:
    fitted = backtest.fit(training_rows(slope=0.0, intercept=-1.0))
    assert not fitted.holds
    assert "Held back" in fitted.note


def test_a_model_has_to_be_better_than_the_one_that_stands() -> None:
    rows = training_rows(slope=1.5)
    truth = 1 / (1 + np.exp(-(-3.0 + 1.5 * np.log1p(rows.recency))))
    beaten = backtest.fit(rows, truth)
    assert not beaten.holds
    assert "standing model" in beaten.note
    assert backtest.fit(rows, 1 - truth).holds


@pytest.mark.parametrize("weeks", [1, 2])
def test_with_too_little_history_it_abstains_and_says_why(weeks: int) -> None:
    rows = training_rows(slope=1.5)
    fitted = backtest.fit(rows.at(np.flatnonzero(rows.moment < DAYS[weeks].toordinal())))
    assert fitted.candidate is None
    assert "Too little history" in fitted.note


def trained(conn: Connection) -> dict[str, TrainReport]:
    return {one.target: one for one in training.train(conn, TODAY, settings=world.SETTINGS)}


def test_training_promotes_one_version_and_twice_makes_no_second(conn: Connection) -> None:
    fading(conn)
    first, again = trained(conn)["churn"], trained(conn)["churn"]
    assert first.promoted
    assert first.metrics is not None
    assert first.metrics.auc > 0.6
    assert again.version == first.version == 1
    assert not again.promoted
    stored = conn.execute(sa.select(tables.models.c.status, tables.models.c.metrics)).all()
    assert [row.status for row in stored] == ["promoted"]
    assert stored[0].metrics["auc"] == first.metrics.auc


def test_a_target_of_which_nothing_is_seen_abstains_and_says_why(conn: Connection) -> None:
    fading(conn)
    found = trained(conn)
    assert set(found) == {"churn", "completion", "upgrade", "referral"}
    for name in ("completion", "upgrade", "referral"):
        assert (found[name].promoted, found[name].version) == (False, None)
        assert found[name].note.startswith("Too ")


def test_of_many_users_the_same_some_are_learned_from(conn: Connection) -> None:
    fading(conn)
    looked_back = moments.keep(conn, [TODAY - timedelta(days=20), TODAY - timedelta(days=30)])
    assert training.sampled(conn, 2, most_rows=1_000) is None
    found = []
    for _ in range(2):
        only = training.sampled(conn, 2, most_rows=100)
        query = compiled(training.training_expr(looked_back, TARGETS[0], timedelta(days=14), only=only))
        found.append(sorted(row.user_id for row in run(conn, query)))
    assert found[0] == found[1]
    assert 10 < len(set(found[0])) <= 50


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_nothing_after_a_moment_changes_its_training_rows_but_their_label(conn: Connection, target: Target) -> None:
    world.post(conn, list(world.events(6000, users=150, until=NOW, days=100, seed=3)), NOW)
    activity.rollup(conn)
    cut = TODAY - timedelta(days=30)
    looked_back = moments.keep(conn, [cut])
    query = compiled(training.training_expr(looked_back, target, timedelta(days=14)).drop("came_true"))
    with_future = sorted(map(tuple, run(conn, query)))
    conn.execute(sa.delete(tables.user_days).where(tables.user_days.c.day > cut))
    assert sorted(map(tuple, run(conn, query))) == with_future
    assert len(with_future) > 10


def test_scores_are_those_of_the_promoted_formula_and_the_segment_shows_them(conn: Connection) -> None:
    fading(conn)
    assert trained(conn)["churn"].kind == "recency"
    world.run_stages(conn, TODAY, everyone=True)
    formula = predictor.promoted(conn)["churn"].parameters
    row = conn.execute(
        sa.select(tables.activity.c.last_active_at, tables.segments.c.churn_risk, tables.predictions.c.probability)
        .join(tables.segments, tables.segments.c.user_id == tables.activity.c.user_id)
        .join(tables.predictions, tables.predictions.c.user_id == tables.activity.c.user_id)
        .limit(1)
    ).one()
    today = datetime.combine(TODAY, datetime.min.time(), tzinfo=NOW.tzinfo)
    recency = max((today - row.last_active_at) / timedelta(days=1), 0)
    curve, calibration = formula["parts"][0]["curve"], formula["calibration"]
    logit = calibration["level"] + calibration["steepness"] * (curve["intercept"] + curve["slope"] * np.log1p(recency))
    assert row.churn_risk == row.probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)


def test_a_model_that_was_changed_after_it_was_measured_is_not_used(conn: Connection) -> None:
    fading(conn)
    trained(conn)
    conn.execute(sa.text("UPDATE models SET parameters = jsonb_set(parameters, '{calibration,level}', '9')"))
    with pytest.raises(Permanent, match="Version 1 of the churn model"):
        predictor.promoted(conn)


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
