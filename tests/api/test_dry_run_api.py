"""A dry run over HTTP: what it answers, and what it refuses by name."""

from datetime import date, timedelta

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, user_days, users

RULE = {
    "name": "Come back",
    "trigger": "time_based",
    "conditions": {"days_since": {"event": "login", "op": ">=", "value": 3}},
    "actionType": "dm",
    "actionData": {"content": "We miss you."},
    "holdout": 0,
}
LAST = clock.newest_closed_day(clock.now())
DAYS = {"from": (LAST - timedelta(days=9)).isoformat(), "to": LAST.isoformat()}


@pytest.fixture
def path(client: httpx.Client, store: Store) -> str:
    """The dry run of a rule that would have fired for one user, eight days ago."""
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u1", created_at=clock.start_of(LAST - timedelta(days=30))))
        day = LAST - timedelta(days=11)
        at = clock.start_of(day)
        conn.execute(sa.insert(user_days).values(user_id="u1", day=day, events=1, acted=1, login=1, last_acted_at=at))
    made = client.post("/api/oracle/rules", json=RULE)
    return f"/api/oracle/rules/{made.json()['id']}/dry-run"


def test_it_tells_day_by_day_who_would_have_been_proposed_what(client: httpx.Client, path: str, store: Store) -> None:
    answer = client.post(path, json=DAYS)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["from"], told["to"], told["version"], told["proposed"], told["users"]) == (*DAYS.values(), 1, 1, 1)
    fired_on = LAST - timedelta(days=8)
    by_day = {day["day"]: day for day in told["days"]}
    assert len(by_day) == 10
    assert [day for day, one in by_day.items() if one["proposed"]] == [fired_on.isoformat()]
    (sample,) = by_day[fired_on.isoformat()]["samples"]
    last = date.fromisoformat(sample["fired"]["lastOn"])
    assert (sample["userId"], sample["cause"], fired_on - last) == ("u1", f"login@{last}>=3", timedelta(days=3))
    assert told["notes"]
    with store.transaction() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(actions)) == 0


def test_a_draft_is_read_like_a_rule_and_compared_with_the_live_one(client: httpx.Client, path: str) -> None:
    later = {**RULE, "conditions": {"days_since": {"event": "login", "op": ">=", "value": 30}}}
    told = client.post(path, json={**DAYS, "definition": later}).json()
    assert (told["version"], told["proposed"], told["production"]) == (None, 0, None)
    assert told["change"] == {"onlyDraft": 0, "onlyLive": 1, "both": 0, "draftSamples": [], "liveSamples": ["u1"]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": (LAST + timedelta(days=1)).isoformat()}, "to"),
        ({"from": "2020-01-01"}, "from"),
        ({"from": 5}, "from"),
        ({"definition": {**RULE, "trigger": "moon_based"}}, "trigger"),
        ({"samples": 51}, "samples"),
        ({"send": True}, "send"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_name(
    client: httpx.Client, path: str, change: dict[str, object], field: str
) -> None:
    answer = client.post(path, json={**DAYS, **change})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


def test_a_rule_that_is_not_there_cannot_be_tried(client: httpx.Client) -> None:
    path = "/api/oracle/rules/00000000-0000-7000-8000-000000000000/dry-run"
    assert client.post(path, json=DAYS).status_code == 404
