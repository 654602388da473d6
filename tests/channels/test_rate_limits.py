"""What providers say of their limits is heeded by all senders of a process, and costs no message a try."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from oracle_lib.execute import approvals, executor
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channel_limits import ChannelLimits
from oracle_lib.execute.channels import Pause, rate_limits
from oracle_lib.execute.channels.letter import Sender
from oracle_lib.execute.channels.resend import Resend
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, users
from tests.providers import resend
from tests.providers.resend import ResendProvider
from tests.providers.wire import Mishap, Request, Says, serving

SENDER = Sender("The academy", "hello@academy.example", "1 Main Street, Springfield")
SETTINGS = Settings(environment="test", public_url="https://oracle.academy.example")
A_SECOND = 8


class Limiting(ResendProvider):
    """Resend that takes so many requests in a second of its clock, and says so in its headers."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[int, int] = {}
        self.refused = 0

    def mishap(self) -> Mishap | None:
        second = int(time.time())
        self.taken[second] = self.taken.get(second, 0) + 1
        if self.taken[second] <= A_SECOND:
            return None
        self.refused += 1
        return Says(429, headers={"retry-after": "1", **self._said(0)})

    def take(self, request: Request) -> Says:
        answer = super().take(request)
        return Says(answer.status, answer.body, self._said(max(0, A_SECOND - self.taken.get(int(time.time()), 0))))

    def _said(self, remaining: int) -> dict[str, str]:
        return {"ratelimit-limit": str(A_SECOND), "ratelimit-remaining": str(remaining), "ratelimit-reset": "1"}


@pytest.fixture
def provider() -> Iterator[Limiting]:
    with serving(Limiting()) as made:
        yield made


def approved(store: Store, now: datetime, count: int) -> None:
    with store.transaction() as conn:
        people = [{"id": f"u{n}", "email": f"u{n}@example.org", "is_test": True} for n in range(count)]
        conn.execute(sa.insert(users), people)
        for person in people:
            made = approvals.create(conn, Draft(str(person["id"]), "email", "Hi", subject="Hi"), actor="anna", now=now)
            approvals.approve(conn, made.id, actor="bea", now=now)


def test_a_limit_is_kept_after_the_first_refusals_and_no_try_is_lost(
    store: Store, now: datetime, provider: Limiting
) -> None:
    approved(store, now, 40)
    with closing(Resend(resend.KEY, SENDER, url=provider.url, internal=True)) as channel:
        until = time.monotonic() + 60
        while len(provider.sent) < 40 and time.monotonic() < until:
            executor.run_due(store, settings=SETTINGS, owner="me", channels={"email": channel})
    assert len(provider.sent) == 40
    assert provider.refused <= SETTINGS.senders
    with store.transaction() as conn:
        assert conn.execute(sa.select(actions.c.status, actions.c.attempts).distinct()).all() == [("executed", 1)]


def test_a_quota_that_is_used_up_puts_off_everything_on_the_channel(
    store: Store, now: datetime, provider: Limiting
) -> None:
    approved(store, now, 80)
    body = json.dumps({"name": "daily_quota_exceeded"}).encode()
    with serving(ResendProvider()) as empty:
        empty.mishaps = [Says(429, body)] * 80
        with closing(Resend(resend.KEY, SENDER, url=empty.url, internal=True)) as channel:
            executor.run_due(store, settings=SETTINGS, owner="me", limit=20, channels={"email": channel})
            assert len(empty.requests) <= SETTINGS.senders
    with store.transaction() as conn:
        assert executor.waiting(conn) == 0
        kept = conn.execute(sa.select(actions.c.status, actions.c.attempts, actions.c.reason).distinct()).all()
    assert kept == [("approved", 0, "429 daily_quota_exceeded")]


def test_both_ways_of_saying_it_are_read() -> None:
    assert rate_limits.when_spent({"ratelimit-remaining": "1", "ratelimit-reset": "1"}) is None
    spent = {"ratelimit-limit": "5", "ratelimit-remaining": "0", "ratelimit-reset": "1"}
    assert rate_limits.when_spent(spent) == Pause(timedelta(seconds=1), 5)
    date = {"date": "Wed, 04 Mar 2026 12:00:00 GMT", "x-ratelimit-reset": "1772625630"}
    pause = rate_limits.when_spent({"x-ratelimit-limit": "600", "x-ratelimit-remaining": "0", **date})
    assert pause == Pause(timedelta(seconds=30), 600)
    assert rate_limits.when_refused({"retry-after": "Tue, 03 Mar 2026"}) == Pause(timedelta(seconds=1))
    assert rate_limits.when_refused({"retry-after": "0"}).span > timedelta(0)


def test_a_channel_opens_after_its_pause_for_as_many_as_its_limit_lets_through() -> None:
    now = [0.0]
    limits = ChannelLimits(lambda: now[0])
    assert limits.room("resend") > 1_000
    limits.heed("resend", Pause(timedelta(seconds=1), 2))
    assert (limits.room("resend"), limits.opens_in("resend")) == (0, 1.0)
    now[0] = 1.0
    assert limits.room("resend") == 2
    limits.take("resend")
    limits.take("resend")
    assert limits.room("resend") == 0
    now[0] = 2.0
    assert limits.room("resend") == 2
    limits.heed("resend", Pause(timedelta(seconds=1)))
    now[0] = 3.0
    assert limits.room("resend") > 1_000
