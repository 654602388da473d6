"""Drafts: kept whatever they say, told what is wrong with them, published on top of what was seen, never evaluated."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import definition, rule_drafts, rule_life, rule_records, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS
from oracle_lib.errors import Conflict, Invalid, NotFound
from oracle_lib.storage.tables import rules

BODY: dict[str, object] = {
    "name": "cheer",
    "trigger": "event_based",
    "conditions": {"event": "quiz_pass", "within_days": 1},
    "actionType": "dm",
    "actionData": {"content": "Well done!"},
}


def published(conn: Connection, now: datetime, **fields: object) -> UUID:
    return rules_engine.create(conn, definition.read({**BODY, **fields}), actor="anna", now=now).id


def save(conn: Connection, rule_id: UUID, now: datetime, **fields: object) -> rule_drafts.Draft:
    rule_drafts.save(conn, rule_id, {**BODY, **fields}, actor="bea", now=now)
    draft = rule_records.get(conn, rule_id).draft
    assert draft is not None
    return draft


def publish(conn: Connection, rule_id: UUID, now: datetime, seen: int) -> rules_engine.Rule:
    return rule_drafts.publish(conn, rule_id, actor="bea", now=now, seen_version=seen)


def test_a_draft_changes_nothing_of_what_is_published(conn: Connection, now: datetime) -> None:
    rule_id = published(conn, now)
    draft = save(conn, rule_id, now, priority=9)
    assert (draft.body["priority"], draft.saved_by, draft.saved_at, draft.problem) == (9, "bea", now, None)
    [asked] = rules_engine.active(conn, ALL_TRIGGERS, now)
    assert (asked.version, asked.definition.priority) == (1, 5)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"trigger": "daily"}, "trigger"),
        ({"conditions": {"all": [{"event": "quiz_pass"}, {"segment": "height"}]}}, "conditions.all[1].segment"),
        ({"actionData": {}}, "actionData.content"),
        ({"colour": {"deep": [1, {"deeper": None}]}}, "colour"),
        ({"name": ""}, "name"),
    ],
)
def test_a_draft_that_is_wrong_is_kept_as_it_was_sent_with_the_place_to_mend(
    conn: Connection, now: datetime, fields: dict[str, object], place: str
) -> None:
    rule_id = published(conn, now)
    draft = save(conn, rule_id, now, **fields)
    assert draft.body == {**BODY, **fields}
    assert draft.problem is not None
    assert (draft.problem.field, place in draft.problem.message) == (place, True)
    with pytest.raises(Invalid) as refused:
        publish(conn, rule_id, now, seen=1)
    assert refused.value.field == place
    assert rule_records.get(conn, rule_id).draft == draft


def test_publishing_a_draft_makes_it_the_next_version_and_leaves_no_draft(conn: Connection, now: datetime) -> None:
    rule_id = published(conn, now)
    save(conn, rule_id, now, priority=9)
    assert publish(conn, rule_id, now, seen=1).version == 2
    record = rule_records.get(conn, rule_id)
    assert record.definition is not None
    assert (record.version, record.definition.priority, record.published_by, record.draft) == (2, 9, "bea", None)
    with pytest.raises(Conflict, match="no draft"):
        publish(conn, rule_id, now, seen=2)


def test_a_draft_is_not_published_over_a_version_nobody_looked_at(conn: Connection, now: datetime) -> None:
    rule_id = published(conn, now)
    save(conn, rule_id, now, priority=9)
    rules_engine.publish(conn, rule_id, definition.read({**BODY, "cooldown": 1}), actor="anna", now=now)
    with pytest.raises(Conflict) as refused:
        publish(conn, rule_id, now, seen=1)
    assert refused.value.current is not None
    assert (refused.value.current["version"], refused.value.current["cooldown"]) == (2, 1)
    assert publish(conn, rule_id, now, seen=2).definition.priority == 9


def test_a_rule_that_begins_as_a_draft_is_shown_and_never_asked_until_it_is_published(
    conn: Connection, now: datetime
) -> None:
    rule_id = rule_drafts.begin(conn, {"name": "cheer", "isActive": True}, actor="bea", now=now)
    [record] = rule_records.listing(conn)
    assert (record.id, record.version, record.name, record.definition) == (rule_id, 0, "cheer", None)
    assert record.draft is not None
    assert record.draft.problem is not None
    assert record.draft.problem.field == "actionType"
    assert rules_engine.active(conn, ALL_TRIGGERS, now) == []
    assert rules_engine.listing(conn) == []
    with pytest.raises(NotFound):
        rules_engine.get(conn, rule_id)
    save(conn, rule_id, now)
    assert publish(conn, rule_id, now, seen=0).version == 1
    assert [rule.id for rule in rules_engine.active(conn, ALL_TRIGGERS, now)] == [rule_id]


def test_a_mere_draft_goes_by_the_name_its_draft_has_where_that_is_fit_and_free(
    conn: Connection, now: datetime
) -> None:
    published(conn, now, name="taken")
    rule_id = rule_drafts.begin(conn, {"name": "first"}, actor="bea", now=now)
    for said, name in (
        ("second", "second"),
        (" ", "second"),
        ("x" * 101, "second"),
        ("taken", "second"),
        (5, "second"),
    ):
        save(conn, rule_id, now, name=said)
        assert rule_records.get(conn, rule_id).name == name
    other = rule_drafts.begin(conn, {**BODY, "name": "third"}, actor="bea", now=now)
    draft = save(conn, other, now, name="taken")
    assert draft.problem == rule_drafts.Problem("name", "A rule is called 'taken' already; choose another name.")
    with pytest.raises(Conflict, match="taken"):
        publish(conn, other, now, seen=0)


def test_a_new_draft_needs_a_name_that_is_free(conn: Connection, now: datetime) -> None:
    for body in ({}, {"name": " "}, {"name": 5}, {"name": "x" * 101}):
        with pytest.raises(Invalid) as refused:
            rule_drafts.begin(conn, body, actor="bea", now=now)
        assert refused.value.field == "name"
    rule_drafts.begin(conn, {"name": "cheer"}, actor="bea", now=now)
    with pytest.raises(Conflict):
        rule_drafts.begin(conn, {"name": "cheer"}, actor="bea", now=now)
    with pytest.raises(Conflict):
        published(conn, now)


def test_discarding_leaves_what_is_published_and_nothing_of_what_never_was(conn: Connection, now: datetime) -> None:
    rule_id = published(conn, now)
    save(conn, rule_id, now, priority=9)
    never = rule_drafts.begin(conn, {"name": "first"}, actor="bea", now=now)
    for one in (rule_id, never):
        rule_drafts.discard(conn, one, actor="bea", now=now)
    assert rule_records.get(conn, rule_id).draft is None
    assert [record.id for record in rule_records.listing(conn)] == [rule_id]
    rule_drafts.discard(conn, rule_id, actor="bea", now=now)
    with pytest.raises(NotFound):
        rule_drafts.discard(conn, never, actor="bea", now=now)


@pytest.mark.parametrize("value", ["a\x00", "\ud800", {"a": ["\x00"]}, {"\x00": 1}, [float("nan")], float("inf")])
def test_only_what_no_database_can_keep_is_refused(conn: Connection, now: datetime, value: object) -> None:
    rule_id = published(conn, now)
    with pytest.raises(Invalid) as refused:
        save(conn, rule_id, now, description=value)
    assert refused.value.field == "description"
    assert rule_records.get(conn, rule_id).draft is None


def test_a_deleted_rule_takes_no_draft(conn: Connection, now: datetime) -> None:
    rule_id = published(conn, now)
    rule_life.archive(conn, rule_id, actor="anna", now=now + timedelta(hours=1))
    with pytest.raises(Conflict, match="deleted"):
        save(conn, rule_id, now)


def test_the_database_refuses_an_active_rule_that_was_never_published(conn: Connection, now: datetime) -> None:
    rule_id = rule_drafts.begin(conn, {"name": "first"}, actor="bea", now=now)
    for wrong in ({"is_active": True}, {"version": 1}):
        with pytest.raises(sa.exc.IntegrityError, match="published_is_whole"), conn.begin_nested():
            conn.execute(sa.update(rules).where(rules.c.id == rule_id).values(wrong))
