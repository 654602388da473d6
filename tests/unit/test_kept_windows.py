"""What `activity` keeps is read there, and says what the days themselves say; of another day it is not asked."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection

from oracle_lib.decide.conditions import Condition, parse
from oracle_lib.decide.matching import matches
from oracle_lib.decide.reach import reach
from oracle_lib.observe import activity
from oracle_lib.storage.publish import compiled, run
from oracle_lib.storage.tables.activity import EVENT_KINDS, LIFETIME_COUNTS, WINDOWS
from tests import world
from tests.conftest import NOW

TODAY = NOW.date()
KEPT = [(kind, days) for kind, windows in WINDOWS.items() if kind in EVENT_KINDS for days in windows]
EVER = [kind for kind in LIFETIME_COUNTS if kind in EVENT_KINDS]


def counted(event: str, days: int | None, op: str, value: int) -> Condition:
    window = {} if days is None else {"within_days": days}
    return parse({"event": event, **window, "count": {"op": op, "value": value}})


def asked() -> dict[str, Condition]:
    windows: list[tuple[str, int | None]] = [*KEPT, *((kind, None) for kind in EVER)]
    made = [counted(event, days, op, value) for event, days in windows for op, value in ((">=", 1), ("<", 3))]
    made += [parse({"sum": {"of": of, "op": ">=", "value": 30}}) for of in ("revenue", "refunds")]
    return {f"rule_{number}": one for number, one in enumerate(made)}


@pytest.fixture
def lived(conn: Connection) -> Connection:
    world.post(conn, list(world.events(4_000, users=60, until=NOW, days=100, seed=21)), NOW)
    world.run_stages(conn, TODAY - timedelta(days=1))
    world.run_stages(conn, TODAY)
    return conn


def test_kept_windows_say_what_the_days_say(lived: Connection) -> None:
    conditions = asked()
    kept, days = (
        {row.user_id: row for row in run(lived, compiled(matches(conditions, TODAY, standing=standing)))}
        for standing in (True, False)
    )
    assert kept == days
    told_apart = [name for name in conditions if 0 < sum(getattr(row, name) for row in kept.values()) < len(kept)]
    assert len(told_apart) > len(conditions) / 2


def test_no_day_is_read_for_what_is_kept() -> None:
    conditions = asked()
    assert '"user_days"' not in compiled(matches(conditions, TODAY, standing=True))
    assert '"user_days"' in compiled(matches(conditions, TODAY, standing=False))
    assert '"user_days"' in compiled(matches({"other": counted("login", 14, ">=", 1)}, TODAY, standing=True))


def test_while_somebody_waits_for_activity_the_days_are_asked(lived: Connection) -> None:
    condition = counted("login", 7, ">=", 1)
    before = reach(lived, condition, TODAY).nodes[0].users
    world.post(lived, [world.event("just-came", "login", NOW)], NOW)
    activity.rollup(lived)
    assert reach(lived, condition, TODAY).nodes[0].users == before + 1


def test_of_a_day_for_which_activity_does_not_stand_the_days_are_asked(lived: Connection) -> None:
    later = TODAY + timedelta(days=6)
    condition = counted("login", 7, ">=", 1)
    holders = run(lived, compiled(matches({"holds": condition}, later))).all()
    assert reach(lived, condition, later).nodes[0].users == len(holders)
    assert reach(lived, condition, TODAY).nodes[0].users > len(holders)
