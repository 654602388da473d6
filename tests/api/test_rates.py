"""A key at ten times its limit gets its limit, and the rest is told when to come back; another key is not touched."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from oracle_api import rates
from oracle_api.rates import WINDOW_SECONDS, Rates
from oracle_lib.access import Caller
from oracle_lib.errors import Limited
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from tests.api.conftest import make_key, serving

LIMIT = 100
WINDOWS = 2
EVENT = {"userId": "u", "event": "login"}
GREEDY = Caller("greedy", "shop", frozenset())


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, environment="test", events_per_second=LIMIT // WINDOW_SECONDS)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def send(address: str, key: str, a_second: float, until: float) -> list[tuple[float, httpx.Response]]:
    """Send single events at an even pace; return when each was answered, and how."""
    answers: list[tuple[float, httpx.Response]] = []
    with httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=10) as client:
        started = time.monotonic()
        while time.monotonic() < until:
            answer = client.post("/api/oracle/events", json=EVENT)
            answers.append((time.monotonic() - started, answer))
            time.sleep(max(0.0, started + len(answers) / a_second - time.monotonic()))
    return answers


def test_a_key_at_ten_times_its_limit_gets_its_limit_while_another_is_unaffected(
    store: Store, settings: Settings
) -> None:
    with store.transaction() as conn:
        greedy, modest = make_key(conn, "events:write"), make_key(conn, "events:write")
    with serving(store, settings) as address, ThreadPoolExecutor(2) as pool:
        until = time.monotonic() + WINDOWS * WINDOW_SECONDS - 0.1
        many = pool.submit(send, address, greedy, 10 * LIMIT / WINDOW_SECONDS, until)
        few = pool.submit(send, address, modest, 0.8 * LIMIT / WINDOW_SECONDS, until)
        timed, others = many.result(), few.result()
        batch = httpx.post(f"{address}/api/oracle/events/batch", json=[EVENT] * 99, headers={"X-API-Key": greedy})
    answers = [answer for _, answer in timed]
    accepted = sum(answer.status_code == 202 for answer in answers)
    refused = [answer for answer in answers if answer.status_code != 202]
    print(f"{len(answers)} sent in {WINDOWS} windows, {accepted} accepted of {WINDOWS * LIMIT} allowed")
    assert abs(accepted - WINDOWS * LIMIT) <= 0.02 * WINDOWS * LIMIT
    assert {(one.status_code, one.json()["error"]["code"]) for one in refused} == {(429, "rate_limited")}
    waits = [(at, int(answer.headers["Retry-After"])) for at, answer in timed if answer.status_code != 202]
    assert {wait for _, wait in waits} <= set(range(12))
    first, wait = waits[0]
    assert abs(first + wait - WINDOW_SECONDS) <= 2, "until the first of its events is a window old"
    assert min(wait for _, wait in waits) == 1
    assert {answer.status_code for _, answer in others} == {202}
    assert batch.status_code == 429


def accepted_at(limiter: Rates, clock: Clock, seconds: float, a_second: int) -> Iterator[float]:
    """The moments at which a steady sender was let in."""
    start = clock.now
    for number in range(round(seconds * a_second)):
        clock.now = start + number / a_second
        try:
            limiter.take(GREEDY)
        except Limited:
            continue
        yield clock.now


@pytest.mark.parametrize("phase", [0.0, 3.3, 9.0, 9.97])
def test_no_ten_seconds_hold_more_than_the_limit_whenever_they_start(phase: float) -> None:
    clock = Clock(1000 + phase)
    moments = list(accepted_at(Rates(LIMIT // WINDOW_SECONDS, clock), clock, 10 * WINDOW_SECONDS - 0.1, 100))
    assert abs(len(moments) - 10 * LIMIT) <= 0.02 * 10 * LIMIT
    in_windows = [sum(first <= one < first + WINDOW_SECONDS for one in moments) for first in moments]
    assert max(in_windows) == LIMIT


def test_who_waits_as_long_as_was_said_is_let_in_and_who_comes_sooner_is_not() -> None:
    clock = Clock(50)
    limiter = Rates(LIMIT // WINDOW_SECONDS, clock)
    for _ in range(5):
        limiter.take(GREEDY, 20)
        clock.now += 1
    with pytest.raises(Limited) as refused:
        limiter.take(GREEDY, 30)
    came = clock.now
    clock.now = came + refused.value.retry_after - 0.01
    with pytest.raises(Limited):
        limiter.take(GREEDY, 30)
    clock.now = came + refused.value.retry_after
    limiter.take(GREEDY, 30)
    assert clock.now - 50 == pytest.approx(WINDOW_SECONDS + 1, abs=0.1)


def test_a_request_larger_than_the_limit_is_told_to_come_in_parts() -> None:
    with pytest.raises(Limited, match="in parts"):
        Rates(LIMIT // WINDOW_SECONDS, Clock(0)).take(GREEDY, LIMIT + 1)


def test_keys_that_have_gone_quiet_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_MOST_KEYS", 10)
    clock = Clock(0)
    limiter = Rates(1, clock)
    for number in range(100):
        clock.now += 2
        limiter.take(Caller(f"key {number}", "shop", frozenset()))
    assert len(limiter._sent) <= 10
