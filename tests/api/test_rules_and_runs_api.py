"""Rules, run requests and the CEO report over HTTP, compared with the tables."""

from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import reports, rule_versions, rules, run_requests
from oracle_lib.tell import ceo_report

RULE = {
    "name": "Keep going",
    "trigger": "event_based",
    "conditions": {"event": "lesson_complete", "within_days": 7, "count": {"op": ">=", "value": 3}},
    "actionType": "dm",
    "actionData": {"content": "Three lessons this week."},
}


def count(store: Store, table: sa.Table) -> int:
    with store.transaction() as conn:
        return conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def test_a_rule_is_stored_and_changing_it_publishes_the_next_version(client: httpx.Client, store: Store) -> None:
    made = client.post("/api/oracle/rules", json=RULE)
    assert (made.status_code, made.json()["version"], made.json()["cooldown"]) == (201, 1, 24)
    path = f"/api/oracle/rules/{made.json()['id']}"
    changed = client.put(path, json={**RULE, "isActive": False}, params={"version": "1"})
    assert (changed.status_code, changed.json()["version"], changed.json()["isActive"]) == (200, 2, False)
    stale = client.put(path, json=RULE, params={"version": "1"})
    assert (stale.status_code, stale.json()["error"]["current"]["version"]) == (409, 2)
    assert client.get(path).json() == changed.json()
    assert client.get("/api/oracle/rules").json() == {"rules": [changed.json()]}
    assert (count(store, rules), count(store, rule_versions)) == (1, 2)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"trigger": "moon_based"}, "trigger"), ({"conditions": {"any": 5}}, None), ({"timesTriggered": 5}, None)],
)
def test_a_rule_that_cannot_be_is_refused(client: httpx.Client, change: dict[str, object], field: str | None) -> None:
    answer = client.post("/api/oracle/rules", json={**RULE, **change})
    assert answer.status_code == 422
    if field:
        assert answer.json()["error"]["field"] == field


def test_a_backfill_is_asked_for_as_one_row(client: httpx.Client, store: Store) -> None:
    last = clock.newest_closed_day(clock.now())
    body = {"job": "daily", "firstDay": (last - timedelta(days=9)).isoformat(), "lastDay": last.isoformat()}
    told = client.post("/api/oracle/run-requests", json=body)
    assert (told.status_code, told.json()["status"]) == (202, "requested")
    with store.transaction() as conn:
        row = conn.execute(sa.select(run_requests)).one()
    assert (row.job, row.parameters) == ("daily", {"firstDay": body["firstDay"], "lastDay": body["lastDay"]})
    assert row.requested_by.startswith("key:")
    assert client.get(f"/api/oracle/run-requests/{row.id}").json() == told.json()
    assert client.get("/api/oracle/run-requests").json()["runRequests"] == [told.json()]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"job": "format"}, "job"),
        ({"job": "daily", "firstDay": "2026-03-02", "lastDay": "2026-03-01"}, "lastDay"),
        ({"job": "daily", "lastDay": "9999-01-01"}, "lastDay"),
        ({"job": "daily", "firstDay": "soon"}, "firstDay"),
        ({"job": "weekly", "week": "2026-03-02"}, "week"),
        ({"job": "weekly", "week": "9999-12-26"}, "week"),
        ({"job": "execute", "week": "2026-03-01"}, "week"),
    ],
)
def test_what_no_run_could_answer_is_refused_by_name(
    client: httpx.Client, store: Store, body: dict[str, str], field: str
) -> None:
    answer = client.post("/api/oracle/run-requests", json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert count(store, run_requests) == 0


def test_the_report_of_the_last_whole_week_is_the_default_and_equals_the_row(
    client: httpx.Client, store: Store, settings: Settings
) -> None:
    assert client.get("/api/oracle/ceo-report").status_code == 404
    now = clock.now()
    week = clock.newest_closed_week(now)
    with store.transaction() as conn:
        ceo_report.make(conn, week, now, settings=settings)
        row = conn.execute(sa.select(reports)).one()
    told = client.get("/api/oracle/ceo-report").json()
    assert (told["week"], told["figures"], told["markdown"]) == (week.isoformat(), row.figures["figures"], row.markdown)
    assert client.get("/api/oracle/ceo-report", params={"week": week.isoformat()}).json() == told
    assert client.get("/api/oracle/ceo-report", params={"format": "markdown"}).text == row.markdown
    other_day = {"week": (week + timedelta(days=1)).isoformat()}
    assert client.get("/api/oracle/ceo-report", params=other_day).json()["error"]["field"] == "week"


def test_making_a_report_again_is_asked_of_dagster(client: httpx.Client, store: Store) -> None:
    told = client.post("/api/oracle/ceo-report", json={})
    week = clock.newest_closed_week(clock.now()).isoformat()
    assert (told.status_code, told.json()["job"], told.json()["parameters"]) == (202, "weekly", {"week": week})
    assert count(store, run_requests) == 1
