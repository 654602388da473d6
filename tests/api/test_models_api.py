"""Models over HTTP: every version with its figures, and a card that says what it is not for."""

from datetime import timedelta

import httpx
import numpy as np
import pytest

from oracle_lib import clock
from oracle_lib.analyze import training
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
    assert f"AUC {found['metrics']['auc']:.3f}" in answer["card"]
    assert "**Not for** grading, admission or level decisions." in answer["card"]


def test_no_models_are_an_empty_list_and_an_unknown_one_404(client: httpx.Client) -> None:
    assert client.get("/api/oracle/models").json() == {"models": []}
    unknown = client.get("/api/oracle/models/019a8f3e-0000-7000-8000-000000000000")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
