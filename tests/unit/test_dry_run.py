"""A dry run proposes what production proposed, by the state of each day; where it does not, an event came late."""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from oracle_lib.clock import DAY, start_of
from oracle_lib.decide import definition, dry_run
from oracle_lib.decide.past_limits import Firing
from oracle_lib.errors import Invalid, NotFound
from oracle_lib.storage import tables
from oracle_lib.storage.embedded import EmbeddedServer
from tests.life import DAYS, FIRST, LAST, LATE_DAYS, RULES, SETTINGS, SILENT, Life, coming, lived, read


@pytest.fixture(scope="module")
def life(server: EmbeddedServer) -> Iterator[Life]:
    """A life in which everything comes in time."""
    yield from lived(server, coming(seed=3), DAYS)


@pytest.fixture(scope="module")
def late_life(server: EmbeddedServer) -> Iterator[Life]:
    """A life in which some events come two and a half days late."""
    yield from lived(server, coming(seed=4, late=timedelta(hours=60)), LATE_DAYS)


@pytest.mark.parametrize("name", RULES)
def test_a_dry_run_proposes_what_production_proposed_and_holds_back_what_it_held_back(life: Life, name: str) -> None:
    really = life.proposed(name)
    assert len(really) > DAYS / 5
    tried = life.tried(name)
    assert set(tried.proposed) == really
    assert len(tried.proposed) == len(really)
    held = {(one.user_id, one.cause, one.reason) for one in tried.held}
    # What is held back again for the same reason is kept once.
    assert held - life.held_back(name, before=True) == life.held_back(name)


def test_every_guardrail_of_a_rule_has_held_something_back(life: Life) -> None:
    reasons = {reason for name in RULES for _, _, reason in life.held_back(name)}
    assert {"cooldown", "max_per_user", "daily_cap", "weekly_cap", "no_consent", "holdout"} <= reasons
    assert {"topic_refused", "fewer"} <= reasons


def test_it_is_told_how_a_dry_run_compares_with_what_was_proposed(life: Life) -> None:
    made = life.dry("silent")
    assert made.production is not None
    assert (made.production.only_dry, made.production.only_proposed, made.production.differences) == (0, 0, ())
    assert made.production.alike == made.proposed == len(life.proposed("silent"))


@pytest.mark.parametrize("name", RULES)
def test_with_late_events_every_difference_names_an_event_that_came_too_late(late_life: Life, name: str) -> None:
    made = late_life.dry(name).production
    assert made is not None
    assert len(made.differences) == made.only_dry + made.only_proposed
    unexplained = [one for one in made.differences if not one.late_events]
    assert unexplained == []
    users = {json.loads(body)["messageId"]: json.loads(body)["userId"] for _, body in coming(seed=4)}
    for one in made.differences:
        assert {users[event] for event in one.late_events} == {one.user_id}
        assert all(int(event.split("-")[1]) % 3 == 0 for event in one.late_events)


def test_late_events_do_make_a_difference(late_life: Life) -> None:
    made = [late_life.dry(name).production for name in RULES]
    assert sum(one.only_dry + one.only_proposed for one in made if one) > 3


def test_a_dry_run_writes_nothing(life: Life) -> None:
    kept = (tables.actions, tables.skips, tables.rules, tables.user_tags, tables.action_changes, tables.dirty_users)

    def written() -> list[list[tuple[object, ...]]]:
        with life.store.transaction() as conn:
            return [sorted((tuple(row) for row in conn.execute(sa.select(table))), key=repr) for table in kept]

    before = written()
    life.dry("silent", draft=read("again and again"))
    assert written() == before


def test_each_day_tells_how_many_with_samples_and_who_got_an_action_of_another_rule(life: Life) -> None:
    made = life.dry("silent", samples=2)
    really = life.proposed("silent")
    assert [day.day for day in made.days] == [FIRST + n * DAY for n in range(DAYS)]
    assert {day.day: day.proposed for day in made.days if day.proposed} == {
        day: sum(one.day == day for one in really) for day in {one.day for one in really}
    }
    assert all(len(day.samples) == min(day.proposed, 2) for day in made.days)
    shown = [(day.day, one) for day in made.days for one in day.samples]
    assert {Firing(day, one.user_id, one.cause) for day, one in shown} <= really
    assert all(one.cause == f"activity@{one.fired['lastOn']}>=5" for _, one in shown)
    others = {name: life.proposed(name) for name in RULES if name != "silent"}
    counted = {
        (day, name): len(
            {one.user_id for one in really if one.day == day} & {one.user_id for one in of if one.day == day}
        )
        for name, of in others.items()
        for day in {one.day for one in really}
    }
    assert {(day.day, name): n for day in made.days for name, n in day.overlap.items()} == {
        key: n for key, n in counted.items() if n
    }


def test_a_draft_is_held_against_the_live_version(life: Life) -> None:
    wider = definition.read({**definition.wire(read("silent")), "conditions": {"any": [SILENT, {"tag": "vip"}]}})
    same = life.dry("silent", draft=wider)
    assert same.version is None
    assert same.production is None
    assert same.change is not None
    assert (same.change.only_draft, same.change.only_live, same.change.both) == (0, 0, same.users)
    later = {"days_since": {"event": "activity", "op": ">=", "value": 8}}
    made = life.dry("silent", draft=definition.read({**definition.wire(wider), "conditions": later}))
    assert made.change is not None
    assert made.change.only_live == len(made.change.live_samples) > 0
    assert made.change.both + made.change.only_draft == made.users
    assert {one.cause.split(">=")[1] for day in made.days for one in day.samples} == {"8"}


@pytest.mark.parametrize("begin", [None, start_of(FIRST + 6 * DAY) + timedelta(hours=2)], ids=["never", "midway"])
def test_levels_from_before_any_was_kept_are_worked_out(life: Life, begin: datetime | None) -> None:
    """As after an import of history: nothing of it was classified at the time."""
    here = [
        {"segment": "lifecycle", "op": "in", "value": ["active", "engaged"]},
        {"segment": "churnRisk", "op": ">", "value": 9},
    ]
    levels = [*here, {"segment": "churnLevel", "op": "!=", "value": "critical"}]
    draft = definition.read({**definition.wire(read("silent")), "conditions": {"all": [SILENT, *levels]}})
    kept = life.dry("silent", draft=draft)
    assert kept.proposed > 3
    assert not any("are kept from" in note for note in kept.notes)
    changes = tables.segment_changes
    with life.store.engine.connect() as conn, conn.begin() as undone:
        if begin is None:
            conn.execute(sa.delete(changes))
        else:
            conn.execute(sa.update(changes).where(changes.c.changed_at < begin).values(changed_at=begin))
        made = dry_run.run(
            conn, life.rules["silent"].id, FIRST, LAST, now=start_of(LAST + DAY), settings=SETTINGS, draft=draft,
            samples=10_000,
        )  # fmt: skip
        undone.rollback()
    assert [(day.day, day.samples) for day in made.days] == [(day.day, day.samples) for day in kept.days]
    said = f"kept from {begin.date()} on" if begin else "kept yet"
    assert any(said in note for note in made.notes)


def test_what_is_not_of_the_past_is_said(life: Life) -> None:
    assert not any("Tags" in note for note in life.dry("silent").notes)
    tagged = definition.read({**definition.wire(read("silent")), "conditions": {"all": [SILENT, {"tag": "vip"}]}})
    assert any("Tags" in note for note in life.dry("silent", draft=tagged).notes)
    assert any("models" in note for note in life.dry("likely to leave").notes)


@pytest.mark.parametrize(
    ("first", "last", "field"),
    [(LAST, FIRST, "to"), (FIRST, LAST + DAY, "to"), (LAST - 92 * DAY, LAST, "from")],
)
def test_days_that_cannot_be_tried_are_refused(life: Life, first: date, last: date, field: str) -> None:
    now = start_of(LAST + DAY)
    with life.store.transaction() as conn, pytest.raises(Invalid) as refused:
        dry_run.run(conn, life.rules["silent"].id, first, last, now=now, settings=SETTINGS)
    assert refused.value.field == field


def test_a_rule_that_is_not_there_is_not_found(life: Life) -> None:
    with life.store.transaction() as conn, pytest.raises(NotFound):
        dry_run.run(conn, uuid4(), FIRST, LAST, now=start_of(LAST + DAY), settings=SETTINGS)
