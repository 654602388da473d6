"""Segments over HTTP: pages that meet every row once, percentages as integers."""

from datetime import date
from uuid import UUID

import httpx
import sqlalchemy as sa

from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import segments, value_forecasts

LEVELS = ("new", "active", "moderate", "dormant", "lost")


def seed(store: Store, count: int) -> None:
    rows = [
        {
            "user_id": f"u{n:03d}",
            "engagement_level": LEVELS[n % 5],
            "churn_risk": n / 200,
            "churn_level": "low" if n < 50 else "medium",
            "lifecycle": "active" if n % 2 else "lead",
            "ltv": "19.90",
            "completion_prob": 0.666,
        }
        for n in range(count)
    ]
    with store.transaction() as conn:
        conn.execute(sa.insert(segments), rows)


def test_pages_meet_every_user_once_in_order(client: httpx.Client, store: Store) -> None:
    seed(store, 25)
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(9):
        parameters = {"limit": "10"} | ({"cursor": cursor} if cursor else {})
        told = client.get("/api/oracle/segments", params=parameters).json()
        seen += [one["userId"] for one in told["segments"]]
        cursor = told["nextCursor"]
        if cursor is None:
            break
    assert seen == [f"u{n:03d}" for n in range(25)]


def test_filters_choose_and_the_wire_speaks_the_specifications_units(client: httpx.Client, store: Store) -> None:
    seed(store, 60)
    wanted = {"engagementLevel": "active", "lifecycle": "active", "churnLevel": "medium"}
    told = client.get("/api/oracle/segments", params=wanted).json()["segments"]
    assert [one["userId"] for one in told] == ["u051"]
    assert (told[0]["churnRisk"], told[0]["completionProb"], told[0]["upgradeProb"], told[0]["ltv"]) == (
        26,
        67,
        None,
        "19.90",
    )
    assert client.get("/api/oracle/segments/u051").json() == told[0]


def test_a_word_that_is_no_level_is_refused(client: httpx.Client) -> None:
    answer = client.get("/api/oracle/segments", params={"engagementLevel": "vivid"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "engagementLevel")
    assert client.get("/api/oracle/segments/nobody").status_code == 404


def test_a_customer_has_a_forecast_and_others_have_none(client: httpx.Client, store: Store) -> None:
    seed(store, 3)
    row = {
        "user_id": "u001",
        "as_of": date(2026, 3, 3),
        "horizon_days": 180,
        "expected": "31.90",
        "lower": "0",
        "upper": "70.5",
        "model_id": UUID("019a8f3e-0000-7000-8000-000000000000"),
    }
    with store.transaction() as conn:
        conn.execute(sa.insert(value_forecasts), row)
    told = [one["ltvForecast"] for one in client.get("/api/oracle/segments").json()["segments"]]
    forecast = {"expected": "31.90", "lower": "0.00", "upper": "70.50", "horizonDays": 180, "asOf": "2026-03-03"}
    assert told == [None, forecast, None]
    assert client.get("/api/oracle/segments/u001").json()["ltvForecast"] == forecast
