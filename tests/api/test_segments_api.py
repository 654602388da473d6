"""Segments over HTTP: pages that meet every row once, percentages as integers, and how they moved."""

from datetime import UTC, date, datetime, timedelta
from typing import get_args
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from oracle_api.schemas import words
from oracle_lib.analyze import classifier
from oracle_lib.observe.habits import DAY_PARTS
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import segment_changes, segment_counts, segments, value_forecasts

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
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "engagementLevel.0")
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


def test_a_user_called_like_a_route_is_found_by_id(client: httpx.Client, store: Store) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(segments), [{"user_id": name} for name in ("counts", "history", "team/1")])
    told = client.get("/api/oracle/segments", params={"userId": ["counts", "history"]}).json()
    assert ([one["userId"] for one in told["segments"]], told["total"]) == (["counts", "history"], 2)
    assert client.get("/api/oracle/segments/team/1").json()["userId"] == "team/1"
    assert client.get("/api/oracle/segments/team/1/changes").json() == {"changes": [], "nextCursor": None}


def test_the_words_of_a_filter_are_those_that_are_worked_out() -> None:
    assert set(get_args(words.EngagementLevel)) == set(classifier.LEVELS)
    assert get_args(words.LearningStyle) == classifier.STYLES
    assert get_args(words.ContactTime) == tuple(DAY_PARTS)
    assert get_args(words.Channel) == tuple(classifier._CHANNELS)


def counted(store: Store, days: dict[date, dict[str, int]], field: str = "engagement_level") -> None:
    rows = [
        {"day": day, "field": field, "value": value, "users": users}
        for day, values in days.items()
        for value, users in values.items()
    ]
    with store.transaction() as conn:
        conn.execute(sa.insert(segment_counts), rows)


def test_history_is_what_was_counted_on_each_day_and_leaves_out_what_was_not(
    client: httpx.Client, store: Store
) -> None:
    first = date(2026, 1, 5)
    counted(store, {first + timedelta(days=n): {"active": 10 + n, "lost": n} for n in (3, 0, 1)})
    counted(store, {first: {"lead": 99}}, field="lifecycle")
    asked = {"field": "engagementLevel", "from": "2026-01-05", "to": "2026-01-07"}
    assert client.get("/api/oracle/segments/history", params=asked).json() == {
        "field": "engagementLevel",
        "days": [
            {"day": "2026-01-05", "users": {"active": 10, "lost": 0}},
            {"day": "2026-01-06", "users": {"active": 11, "lost": 1}},
        ],
    }


def test_history_is_of_the_last_ninety_closed_days_unless_asked_otherwise(client: httpx.Client, store: Store) -> None:
    today = datetime.now(UTC).date()
    counted(store, {today - timedelta(days=n): {"high": n} for n in range(100)}, field="value_segment")
    days = client.get("/api/oracle/segments/history", params={"field": "valueSegment"}).json()["days"]
    assert [one["users"]["high"] for one in days] == [*range(90, 0, -1)]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "field"),
        ({"field": "churnLevel"}, "field"),
        ({"field": "lifecycle", "from": "2026-01-02", "to": "2026-01-01"}, "to"),
        ({"field": "lifecycle", "from": "2025-01-01", "to": "2026-02-05"}, "from"),
        ({"field": "lifecycle", "from": "20260101"}, "from"),
        ({"field": "lifecycle", "since": "2026-01-01"}, "since"),
    ],
)
def test_history_that_cannot_be_meant_is_refused_and_named(
    client: httpx.Client, asked: dict[str, str], field: str
) -> None:
    answer = client.get("/api/oracle/segments/history", params=asked)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


def test_four_hundred_days_of_history_are_not_too_many(client: httpx.Client) -> None:
    asked = {"field": "lifecycle", "from": "2025-01-01", "to": "2026-02-04"}
    assert client.get("/api/oracle/segments/history", params=asked).status_code == 200


def test_changes_of_a_user_come_newest_first_and_each_once(client: httpx.Client, store: Store) -> None:
    seed(store, 2)
    began = datetime(2026, 1, 5, tzinfo=UTC)
    # The second was written after the third had begun: what counts is the order in which they were made.
    moments = [began + timedelta(days=n) for n in (0, 2, 1, 3, 4)]
    with store.transaction() as conn:
        for place, moment in enumerate(moments):
            for user in ("u000", "u001"):
                row = {"user_id": user, "field": "engagement_level", "old": f"{user}-{place}", "new": str(place + 1)}
                row |= {"as_of": moment.date(), "changed_at": moment, "cause": "time"}
                conn.execute(sa.insert(segment_changes), row)
    seen: list[dict[str, str]] = []
    cursor: str | None = None
    for _ in range(4):
        parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        told = client.get("/api/oracle/segments/u000/changes", params=parameters).json()
        seen += told["changes"]
        cursor = told["nextCursor"]
        if cursor is None:
            break
    assert [one["old"] for one in seen] == [f"u000-{place}" for place in (4, 3, 2, 1, 0)]
    assert seen[-1] == {
        "field": "engagementLevel",
        "old": "u000-0",
        "new": "1",
        "asOf": "2026-01-05",
        "cause": "time",
        "changedAt": "2026-01-05T00:00:00Z",
    }


def test_changes_of_nobody_and_a_cursor_that_is_none_are_refused(client: httpx.Client, store: Store) -> None:
    seed(store, 1)
    assert client.get("/api/oracle/segments/nobody/changes").status_code == 404
    for parameters, field in (("cursor=u000", "cursor"), ("cursor=9223372036854775808", "cursor"), ("day=1", "day")):
        answer = client.get(f"/api/oracle/segments/u000/changes?{parameters}")
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
