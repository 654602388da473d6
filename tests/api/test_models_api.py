"""Models over HTTP: every version with its figures, and a card that says what it is not for."""

from datetime import date, timedelta

import httpx
import numpy as np
import pytest

from oracle_lib import clock
from oracle_lib.analyze import model_versions, training
from oracle_lib.analyze.customers import HISTORY
from oracle_lib.analyze.model_versions import Trained
from oracle_lib.analyze.value_backtest import Errors, Group, ValueMetrics
from oracle_lib.observe import activity
from oracle_lib.storage.engine import Store
from tests import world


@pytest.fixture
def trained(store: Store) -> None:
    """Users who come for a while and then no more, and a model that has learned from them."""
    rnd, now = np.random.default_rng(9), clock.now()
    bodies = []
    for user in range(400):
        first = int(rnd.integers(60, 110))
        last = max(first - int(rnd.exponential(45)) - 1, 0)
        days = range(first, last, -int(rnd.integers(1, 4)))
        bodies += [
            world.event(f"u{user}", "login", now - timedelta(days=day), messageId=f"{user}-{day}") for day in days
        ]
    with store.transaction() as conn:
        world.post(conn, bodies, now)
        activity.rollup(conn)
        training.train(conn, clock.newest_closed_day(now), settings=world.SETTINGS)


@pytest.mark.usefixtures("trained")
def test_a_version_is_listed_with_its_figures_and_has_a_card(client: httpx.Client) -> None:
    (found,) = client.get("/api/oracle/models").json()["models"]
    assert (found["target"], found["version"], found["status"]) == ("churn", 1, "promoted")
    assert found["horizonDays"] == 14
    assert 0.5 < found["metrics"]["auc"] <= 1
    assert set(found["metrics"]["aucOf"]) == {"recency", "logistic", "boosting", "blend"}
    answer = client.get(f"/api/oracle/models/{found['id']}").json()
    assert {name: answer[name] for name in found} == found
    assert answer["card"].startswith("# Churn, version 1 (promoted)")
    interval = found["metrics"]["aucInterval"]
    assert interval["lower"] <= found["metrics"]["auc"] <= interval["upper"]
    assert f"AUC {found['metrics']['auc']:.3f}, 95 % from {interval['lower']:.3f}" in answer["card"]
    assert "**Not for** grading, admission or level decisions." in answer["card"]


@pytest.mark.usefixtures("trained")
def test_what_is_predicted_of_a_user_is_told_with_its_reasons(client: httpx.Client, store: Store) -> None:
    with store.transaction() as conn:
        world.run_stages(conn, clock.now().date(), everyone=True)
    segments = client.get("/api/oracle/segments", params={"churnLevel": "high"}).json()["segments"]
    user = segments[0]["userId"]
    (said,) = client.get(f"/api/oracle/predictions/{user}").json()["predictions"]
    assert (said["target"], said["version"], said["probability"]) == ("churn", 1, segments[0]["churnRisk"])
    first = said["contributions"][0]
    assert (first["factor"], segments[0]["churnReason"]) == ("inactivity", "inactivity")
    assert 0 < first["points"] < said["probability"]
    assert client.get("/api/oracle/predictions/nobody").status_code == 404


@pytest.mark.usefixtures("trained")
def test_a_value_forecast_is_listed_with_figures_of_its_own_and_has_a_card(client: httpx.Client, store: Store) -> None:
    errors = {"bg_nbd": Errors(5.0, 9.0), "own_rate": Errors(6.0, 11.0), "mean": Errors(7.5, 10.0)}
    told = ValueMetrics(
        customers=900,
        repeaters=400,
        days=84,
        expected=1030.0,
        lower=950.0,
        upper=1110.0,
        actual=1000.0,
        off_percent=3.0,
        coverage=0.791,
        with_interval=500,
        errors_of=errors,
        groups=(Group("1 purchase", 900, 1030.0, 1000.0),),
    )
    day = date(2026, 3, 1)
    parameters = {"kind": "bg_nbd", "horizon_days": 84}
    made = Trained("ltv", "bg_nbd", True, parameters, HISTORY, day, day, told.as_json(), "Holds: as told.")
    with store.transaction() as conn:
        kept = model_versions.keep(conn, made)
    *_, found = client.get("/api/oracle/models").json()["models"]
    assert (found["id"], found["target"], found["kind"], found["horizonDays"]) == (str(kept.id), "ltv", "bg_nbd", 84)
    assert (found["metrics"]["coverage"], found["metrics"]["withInterval"]) == (0.791, 500)
    assert found["metrics"]["errorsOf"]["own_rate"] == {"meanAbsolute": 6.0, "rootMeanSquare": 11.0}
    card = client.get(f"/api/oracle/models/{kept.id}").json()["card"]
    assert card.startswith("# LTV, version 1 (promoted)")
    assert "what a customer pays in the next 84 days" in card
    assert "1,030.00 expected (80 %: 950.00 to 1,110.00) where 1,000.00 came (+3.0 %)" in card
    assert "79.1% of the 80 % intervals held" in card
    assert "mean absolute error 5.00 (their own past rate 6.00, everybody's mean 7.50)" in card
    assert "**Not for** grading, admission or level decisions." in card


def test_no_models_are_an_empty_list_and_an_unknown_one_404(client: httpx.Client) -> None:
    assert client.get("/api/oracle/models").json() == {"models": []}
    unknown = client.get("/api/oracle/models/019a8f3e-0000-7000-8000-000000000000")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
