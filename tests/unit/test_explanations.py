"""Why something is predicted of a user: the factors the model weighed, in plain words, and the segment's one word."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import audience, explanations, training
from oracle_lib.analyze.reasons import FACTORS, FROM_RISK, WORDS
from oracle_lib.analyze.targets import FEATURES
from oracle_lib.errors import NotFound
from oracle_lib.storage import tables
from tests import world
from tests.conftest import NOW
from tests.unit.test_predictor import fading

TODAY = NOW.date()


@pytest.fixture
def scored(conn: Connection) -> Connection:
    """Users who come for a while and then no more, and what a model that has learned from them says."""
    fading(conn)
    training.train(conn, TODAY, settings=world.SETTINGS)
    world.run_stages(conn, TODAY, everyone=True)
    return conn


def test_every_feature_belongs_to_one_factor() -> None:
    assert sorted(name for factor in FACTORS for name in factor.features) == sorted(FEATURES)


def test_silence_explains_the_risk_of_whoever_is_silent(scored: Connection) -> None:
    asked = sa.select(tables.segments.c.user_id, tables.segments.c.churn_risk, tables.segments.c.churn_reason)
    lately = tables.segments.c.last_active_on > TODAY - timedelta(days=30)
    riskiest = scored.execute(asked.where(lately).order_by(tables.segments.c.churn_risk.desc()).limit(1)).one()
    (churn,) = explanations.explain(scored, riskiest.user_id)
    assert (churn.target, churn.version) == ("churn", 1)
    assert churn.probability == pytest.approx(riskiest.churn_risk, abs=1e-4)
    first = churn.contributions[0]
    assert (first.factor, riskiest.churn_reason) == ("inactivity", "inactivity")
    assert 0.1 < first.points < churn.probability
    assert first.text.startswith("Silent for ")
    assert "Typical: silent for " in first.text


def test_a_reason_is_given_from_a_medium_risk_on_and_no_user_without(scored: Connection) -> None:
    s = tables.segments.c
    rows = scored.execute(sa.select(s.churn_risk, s.churn_reason)).all()
    assert {row.churn_reason is None for row in rows if row.churn_risk < FROM_RISK} == {True}
    assert {row.churn_reason in WORDS for row in rows if row.churn_risk >= FROM_RISK} == {True}


def test_of_whom_nothing_is_asked_nothing_is_explained(scored: Connection) -> None:
    lost = scored.scalar(
        sa.select(tables.segments.c.user_id).where(tables.segments.c.last_active_on < TODAY - timedelta(days=30))
    )
    assert explanations.explain(scored, lost) == []
    assert audience.get(scored, lost).churn_reason == "inactivity"


def test_nobody_and_no_model(conn: Connection) -> None:
    with pytest.raises(NotFound):
        explanations.explain(conn, "nobody")
    world.post(conn, [world.event("u1", "login", NOW)], NOW)
    assert explanations.explain(conn, "u1") == []
    world.run_stages(conn, TODAY)
    assert explanations.explain(conn, "u1") == []
