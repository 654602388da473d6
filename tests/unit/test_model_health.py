"""A model that no longer means what it says is found out, and only what rests on it is held."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import findings, measures, model_health
from oracle_lib.analyze.findings import Finding
from oracle_lib.storage import queue
from oracle_lib.storage.tables import checks, dirty_users, models, past_scores, predictions, segments, user_days
from tests import world
from tests.conftest import NOW

TODAY = NOW.date()
CLOSED = TODAY - timedelta(days=1)
MODEL = UUID("019588f0-0000-7000-8000-000000000001")
OTHER = UUID("019588f0-0000-7000-8000-000000000002")
SCORED = CLOSED - timedelta(days=14)


def model(conn: Connection, scores: np.ndarray, target: str = "churn") -> None:
    """A promoted model that was measured on such scores."""
    spread = measures.spread(scores)
    metrics = {"spread": {"edges": list(spread.edges), "shares": list(spread.shares)}}
    facts: dict[str, Any] = {"parameters": {}, "digest": "", "features": [], "kind": "recency", "version": 1}
    trained = {"trained_from": date(2026, 1, 1), "trained_to": date(2026, 2, 1)}
    row = {"id": MODEL, "target": target, "status": "promoted", "metrics": metrics, **facts, **trained}
    conn.execute(sa.insert(models).values(row))


def scored(conn: Connection, scores: np.ndarray, *, last_active_on: date = CLOSED) -> None:
    """Users with a churn prediction."""
    users = [f"u{number}" for number in range(len(scores))]
    conn.execute(sa.insert(segments), [{"user_id": user, "last_active_on": last_active_on} for user in users])
    said = {"target": "churn", "model_id": MODEL}
    rows = [{"user_id": user, "probability": float(one), **said} for user, one in zip(users, scores, strict=True)]
    conn.execute(sa.insert(predictions), rows)


def past(conn: Connection, scores: np.ndarray, stayed: np.ndarray, *, day: date = SCORED, by: UUID = MODEL) -> None:
    """Scores of a past day, and users of whom some acted on the last day of the horizon."""
    users = [f"u{number}" for number in range(len(scores))]
    kept = {"day": day, "target": "churn", "model_id": by}
    rows = [{"user_id": user, "probability": float(one), **kept} for user, one in zip(users, scores, strict=True)]
    conn.execute(sa.insert(past_scores), rows)
    acted = [{"user_id": user, "day": day + timedelta(days=14), "acted": 1} for user in np.array(users)[stayed]]
    if acted:
        conn.execute(sa.insert(user_days), acted)


def answer(conn: Connection, name: str) -> Finding:
    found = {one.name: one for one in model_health.inspect(conn, TODAY, world.SETTINGS)}
    assert list(found) == list(model_health.QUESTIONS)
    return found[name]


def test_the_index_of_a_shift_is_what_it_is_by_hand() -> None:
    assert model_health.population_stability([0.5, 0.5], [0.5, 0.5]) == 0
    by_hand = -0.1 * np.log(0.4 / 0.5) + 0.1 * np.log(0.6 / 0.5)
    assert model_health.population_stability([0.5, 0.5], [0.4, 0.6]) == pytest.approx(by_hand)
    assert model_health.population_stability([1.0, 0.0], [0.0, 1.0]) > 10


def test_scores_that_lie_as_they_were_measured_are_stable_and_shifted_ones_are_not(conn: Connection) -> None:
    rnd = np.random.default_rng(1)
    model(conn, rnd.beta(2, 5, 5_000))
    scored(conn, np.round(rnd.beta(2, 5, 1_000), 4))
    assert answer(conn, "churn_is_stable").passed
    conn.execute(sa.update(predictions).values(probability=sa.func.least(predictions.c.probability + 0.15, 1.0)))
    shifted = answer(conn, "churn_is_stable")
    assert not shifted.passed
    assert shifted.target == "churn"
    assert "1,000 users" in shifted.detail


def test_those_who_are_gone_already_say_nothing_of_a_shift(conn: Connection) -> None:
    model(conn, np.random.default_rng(1).beta(2, 5, 5_000))
    scored(conn, np.full(1_000, 0.97), last_active_on=TODAY - timedelta(days=40))
    found = answer(conn, "churn_is_stable")
    assert found.passed
    assert "Only 0 users" in found.detail


def test_what_was_said_is_held_against_what_came(conn: Connection) -> None:
    rnd = np.random.default_rng(2)
    scores = rnd.beta(2, 3, 2_000)
    model(conn, scores)
    assert "No score of version 1 is 14 days old" in answer(conn, "churn_is_calibrated").detail
    past(conn, scores, rnd.random(2_000) > scores)
    good = answer(conn, "churn_is_calibrated")
    assert good.passed, good.detail
    assert f"{scores.mean():.1%} were expected" in good.detail
    conn.execute(sa.delete(user_days))
    bad = answer(conn, "churn_is_calibrated")
    assert not bad.passed
    assert "100.0% came" in bad.detail


def test_scores_of_another_model_and_those_whose_days_are_not_over_do_not_count(conn: Connection) -> None:
    scores = np.full(500, 0.1)
    model(conn, scores)
    past(conn, scores, np.zeros(500, dtype=bool), by=OTHER)
    past(conn, scores, np.zeros(500, dtype=bool), day=SCORED + timedelta(days=1))
    assert "No score of version 1" in answer(conn, "churn_is_calibrated").detail


def test_scores_are_kept_once_a_week_of_those_who_were_asked(conn: Connection) -> None:
    scored(conn, np.linspace(0.1, 0.9, 50))
    conn.execute(sa.update(segments).where(segments.c.user_id == "u7").values(last_active_on=TODAY - timedelta(31)))
    assert model_health.keep_scores(conn, TODAY) == 49
    assert model_health.keep_scores(conn, TODAY + timedelta(days=6)) == 0
    assert model_health.keep_scores(conn, TODAY + timedelta(days=7)) == 49
    assert set(conn.scalars(sa.select(past_scores.c.day))) == {CLOSED, CLOSED + timedelta(days=7)}
    model_health.keep_scores(conn, TODAY + timedelta(days=200))
    assert conn.scalar(sa.select(sa.func.count()).where(past_scores.c.day <= CLOSED + timedelta(days=7))) == 0


def test_without_a_model_there_is_nothing_to_distrust(conn: Connection) -> None:
    assert all(one.passed for one in model_health.inspect(conn, TODAY, world.SETTINGS))


def test_a_model_is_held_until_it_is_trusted_again_and_then_everybody_is_asked(conn: Connection) -> None:
    bad, good = Finding("churn_is_stable", False, "no", "churn"), Finding("churn_is_stable", True, "yes", "churn")
    gate = Finding("feed_is_fresh", True, "yes")
    findings.record(conn, [gate, bad], TODAY, NOW)
    assert findings.held_targets(conn) == {"churn"}
    assert findings.gate_is_open(conn, TODAY) is True
    assert findings.gate_is_open(conn, TODAY + timedelta(days=1)) is None
    assert conn.execute(sa.select(dirty_users)).all() == []
    findings.record(conn, [good], TODAY, NOW)
    assert findings.held_targets(conn) == frozenset()
    assert queue.take_users(conn, "rules") == queue.EVERYONE
    findings.record(conn, [good], TODAY, NOW)
    assert conn.execute(sa.select(dirty_users)).all() == []
    assert conn.scalar(sa.select(sa.func.count()).select_from(checks)) == 2
