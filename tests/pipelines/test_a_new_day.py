"""What changes only because a day went by is seen at midnight; what looks like silence but is a broken feed is not."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from oracle_lib import stages
from oracle_lib.analyze.soundness import BUSY_EVENTS
from oracle_lib.clock import start_of
from oracle_lib.decide import definition, rules_engine
from oracle_lib.decide.decider import ProposeReport
from oracle_lib.settings import Settings
from oracle_lib.stages import Untouched
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, dirty_users, segment_changes
from tests import world

SETTINGS = Settings(environment="test")
DORMANT = {
    "name": "dormant",
    "trigger": "segment_based",
    "conditions": {"segment": "engagementLevel", "op": "=", "value": "dormant"},
    "actionType": "dm",
    "holdout": 0,
    "actionData": {"content": "We miss you"},
}


def react(store: Store, now: datetime) -> dict[str, object]:
    return {name: step() for name, step in stages.react(store, now, SETTINGS)}


def busy(store: Store, first: datetime, last: datetime) -> None:
    """A feed that carries enough each day for its silence to mean something, by users who come every day."""
    days = range((last - first).days + 1)
    bodies = [
        world.event(
            f"daily{user}", "login", first + timedelta(days=day), messageId=f"{user}-{first + timedelta(days=day)}"
        )
        for day in days
        for user in range(BUSY_EVENTS)
    ]
    with store.transaction() as conn:
        world.post(conn, bodies, last)


@pytest.fixture
def evening(store: Store, now: datetime) -> datetime:
    """The last minutes of a day that a user spent silent for the 14th time; everything is worked out."""
    late = start_of(now.date()) + timedelta(hours=23, minutes=50)
    with store.transaction() as conn:
        rules_engine.create(conn, definition.read(DORMANT), actor="anna", now=late - timedelta(days=30))
        world.post(conn, [world.event("silent", "login", now - timedelta(days=14))], late)
    busy(store, now - timedelta(days=20), now)
    react(store, late)
    assert not stages.anything_waits(store, late)
    return late


def test_whoever_falls_silent_is_dormant_within_a_quarter_of_an_hour(store: Store, evening: datetime) -> None:
    midnight = evening + timedelta(minutes=10, seconds=15)
    assert stages.anything_waits(store, midnight)
    react(store, midnight)
    with store.transaction() as conn:
        change = conn.execute(
            sa.select(segment_changes).where(segment_changes.c.new == "dormant", segment_changes.c.user_id == "silent")
        ).one()
        assert (change.cause, change.as_of) == ("time", midnight.date())
        assert conn.execute(sa.select(actions.c.user_id)).scalars().all() == ["silent"]
    assert not stages.anything_waits(store, midnight)


def test_a_feed_that_stopped_proposes_nothing_at_midnight_and_goes_on_when_it_is_back(
    store: Store, evening: datetime
) -> None:
    # Nothing comes for a whole day: at its end the academy looks one day more silent than it is.
    after = evening + timedelta(days=1, minutes=11)
    held = react(store, after)["actions"]
    assert isinstance(held, Untouched)
    assert "The feed carried at least" in held.reason
    with store.transaction() as conn:
        assert set(conn.execute(sa.select(dirty_users.c.stage)).scalars()) == {"rules"}
    assert not stages.anything_waits(store, after), "nothing new: asking again would say the same, every few seconds"
    busy(store, after, after)
    assert stages.anything_waits(store, after)
    proposed = react(store, after + timedelta(seconds=20))["actions"]
    assert isinstance(proposed, ProposeReport)
    assert proposed.by_rule == {"dormant": 1}
    assert not stages.anything_waits(store, after)
