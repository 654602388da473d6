"""A key at ten times its limit gets its limit, another key is not touched."""

import time

import httpx
import pytest

from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from tests.api.conftest import make_key, serving

LIMIT = 100
WINDOW = 10


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, environment="test", events_per_second=LIMIT // WINDOW)


def test_a_key_over_its_limit_gets_its_limit_and_another_is_unaffected(store: Store, settings: Settings) -> None:
    with store.transaction() as conn:
        greedy, modest = make_key(conn, "events:write"), make_key(conn, "events:write")
    event = {"userId": "u", "event": "login"}
    with serving(store, settings) as address, httpx.Client(base_url=address) as client:
        started = time.monotonic()
        answers = [
            client.post("/api/oracle/events", json=event, headers={"X-API-Key": greedy}) for _ in range(10 * LIMIT)
        ]
        spent = time.monotonic() - started
        other = client.post("/api/oracle/events", json=event, headers={"X-API-Key": modest})
        batch = client.post("/api/oracle/events/batch", json=[event] * 50, headers={"X-API-Key": greedy})
    accepted = sum(answer.status_code == 202 for answer in answers)
    # What the window lets in again while the requests are being sent comes on top.
    assert LIMIT * 0.98 <= accepted <= LIMIT * (1 + spent / WINDOW) * 1.02
    refused = [answer for answer in answers if answer.status_code != 202]
    assert {answer.status_code for answer in refused} == {429}
    assert 1 <= int(refused[-1].headers["Retry-After"]) <= WINDOW
    assert refused[-1].json()["error"]["code"] == "rate_limited"
    assert other.status_code == 202
    assert batch.status_code == 429
