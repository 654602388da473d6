"""Versions: who published what, what differs to the very place, and the way back that rewrites nothing."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from oracle_lib.decide import caps, decider, definition, rule_drafts, rule_versions, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.rule_changes import Change, changes
from oracle_lib.errors import Conflict, NotFound
from oracle_lib.storage.tables import actions, activity, audit_log, users

SILENT = {"days_since": {"event": "activity", "op": ">=", "value": 7}}
LIMITS = Limits("production", consent_by_default=True, caps=caps.of(2, None, {}))


def body(**fields: object) -> dict[str, object]:
    return {
        "name": "win back",
        "trigger": "time_based",
        "conditions": {"all": [SILENT, {"tag": "vip"}]},
        "actionType": "dm",
        "actionData": {"content": "Your place is kept."},
        "holdout": 0,
        **fields,
    }


def made(conn: Connection, now: datetime, *versions: dict[str, object]) -> UUID:
    """Publish the versions one after the other, an hour between them, by anna, bea, anna, ..."""
    first, *later = versions
    rule_id = rules_engine.create(conn, definition.read(body(**first)), actor="anna", now=now).id
    for number, fields in enumerate(later, start=1):
        at, actor = now + timedelta(hours=number), ("anna", "bea")[number % 2]
        rules_engine.publish(conn, rule_id, definition.read(body(**fields)), actor=actor, now=at)
    return rule_id


def test_each_version_says_when_by_whom_and_in_what_it_differs(conn: Connection, now: datetime) -> None:
    rule_id = made(conn, now, {}, {"priority": 9}, {"priority": 9, "conditions": SILENT, "description": "Come back."})
    assert [(one.version, one.published_by, one.changed) for one in rule_versions.listing(conn, rule_id)] == [
        (3, "anna", ("description", "conditions")),
        (2, "bea", ("priority",)),
        (1, "anna", ()),
    ]
    assert rule_versions.get(conn, rule_id, 2).published_at == now + timedelta(hours=1)
    assert rule_versions.get(conn, rule_id, 2).definition == definition.read(body(priority=9))
    with pytest.raises(NotFound):
        rule_versions.get(conn, rule_id, 4)
    with pytest.raises(NotFound):
        rule_versions.listing(conn, UUID(int=0))


def test_what_differs_is_named_to_the_place(conn: Connection, now: datetime) -> None:
    longer = {"days_since": {"event": "activity", "op": ">=", "value": 14}}
    rule_id = made(conn, now, {}, {"conditions": {"all": [longer, {"tag": "vip"}, {"tag": "new"}]}, "priority": 7})
    assert rule_versions.diff(conn, rule_id, 1, 2) == [
        Change("conditions.all[0].days_since.value", 7, 14),
        Change("conditions.all[2]", None, {"tag": "new"}),
        Change("priority", 5, 7),
    ]
    assert rule_versions.diff(conn, rule_id, 2, 2) == []


def test_a_draft_is_compared_by_what_it_means_or_as_it_was_sent_while_it_means_nothing(
    conn: Connection, now: datetime
) -> None:
    rule_id = made(conn, now, {})
    with pytest.raises(NotFound, match="no draft"):
        rule_versions.diff(conn, rule_id, 1, "draft")
    rule_drafts.save(conn, rule_id, body(actionData={"content": "We miss you."}), actor="bea", now=now)
    differing = [Change("actionData.content", "Your place is kept.", "We miss you.")]
    assert rule_versions.diff(conn, rule_id, 1, "draft") == differing
    rule_drafts.save(conn, rule_id, {"name": "win back", "trigger": "soon"}, actor="bea", now=now)
    differs = {change.field: (change.old, change.new) for change in rule_versions.diff(conn, rule_id, 1, "draft")}
    assert differs["trigger"] == ("time_based", "soon")
    assert differs["priority"] == (5, None)
    assert "name" not in differs


def test_a_rollback_publishes_the_old_words_as_a_new_version(conn: Connection, now: datetime) -> None:
    rule_id = made(conn, now, {}, {"priority": 9})
    back = rule_versions.rollback(conn, rule_id, 1, seen_version=2, actor="cleo", now=now + timedelta(days=1))
    assert (back.version, back.definition) == (3, definition.read(body()))
    assert [one.published_by for one in rule_versions.listing(conn, rule_id)] == ["cleo", "bea", "anna"]
    noted = sa.select(audit_log.c.actor, audit_log.c.detail).where(audit_log.c.verb == "rule.rolled_back")
    assert conn.execute(noted).all() == [("cleo", {"to": 1, "version": 3})]
    again = rule_versions.rollback(conn, rule_id, 1, seen_version=3, actor="cleo", now=now + timedelta(days=2))
    assert again == back
    assert len(conn.execute(noted).all()) == 1


def test_who_goes_back_from_a_version_they_have_not_seen_is_told(conn: Connection, now: datetime) -> None:
    rule_id = made(conn, now, {}, {"priority": 9}, {"priority": 8})
    with pytest.raises(Conflict) as refused:
        rule_versions.rollback(conn, rule_id, 1, seen_version=2, actor="cleo", now=now)
    assert refused.value.current is not None
    assert refused.value.current["version"] == 3
    with pytest.raises(NotFound):
        rule_versions.rollback(conn, rule_id, 7, seen_version=3, actor="cleo", now=now)


def test_an_old_name_that_others_have_taken_is_not_taken_back(conn: Connection, now: datetime) -> None:
    rule_id = made(conn, now, {}, {"name": "come back"})
    rules_engine.create(conn, definition.read(body()), actor="bea", now=now)
    with pytest.raises(Conflict, match="already"):
        rule_versions.rollback(conn, rule_id, 1, seen_version=2, actor="cleo", now=now)


def test_what_was_proposed_once_is_not_proposed_again_after_a_rollback(conn: Connection, now: datetime) -> None:
    rule_id = made(conn, now, {"conditions": SILENT, "cooldown": 0}, {"conditions": SILENT, "cooldown": 1})
    conn.execute(sa.insert(users).values(id="u1"))
    conn.execute(sa.insert(activity).values(user_id="u1", last_active_on=now.date() - timedelta(days=8)))

    def propose(at: datetime) -> int:
        report = decider.propose(conn, as_of=at.date(), now=at, triggers=ALL_TRIGGERS, everyone=True, limits=LIMITS)
        return report.proposed

    assert propose(now + timedelta(hours=2)) == 1
    rule_versions.rollback(conn, rule_id, 1, seen_version=2, actor="cleo", now=now + timedelta(hours=4))
    assert propose(now + timedelta(hours=5)) == 0
    assert conn.execute(sa.select(actions.c.rule_version)).scalars().all() == [2]


def test_an_item_that_is_put_in_front_does_not_change_the_others() -> None:
    old = {"all": [{"tag": "a"}, {"tag": "b"}]}
    new = {"all": [{"tag": "new"}, {"tag": "a"}, {"tag": "b"}]}
    assert changes(old, new) == [Change("all[0]", None, {"tag": "new"})]
    assert changes(new, old) == [Change("all[0]", {"tag": "new"}, None)]


def test_a_leaf_of_another_kind_and_a_list_of_words_change_as_a_whole() -> None:
    old, new = {"not": {"tag": "a"}, "value": ["x", "y"]}, {"not": {"progress": {"op": "="}}, "value": ["y"]}
    assert changes(old, new) == [
        Change("not", {"tag": "a"}, {"progress": {"op": "="}}),
        Change("value", ["x", "y"], ["y"]),
    ]


def said(value: object) -> object:
    """Leave out what says nothing: a name without a value is as good as no name."""
    match value:
        case dict():
            return {name: said(inner) for name, inner in value.items() if inner is not None}
        case list():
            return [said(inner) for inner in value]
    return value


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(2, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=12,
)
_OBJECT = st.dictionaries(st.text("ab", min_size=1, max_size=2), _JSON, max_size=3)


@given(old=_OBJECT, new=_OBJECT)
def test_nothing_differs_exactly_where_the_texts_say_the_same(old: dict[str, object], new: dict[str, object]) -> None:
    assert changes(old, old) == []
    found = changes(old, new)
    assert all(change.old != change.new for change in found)
    assert bool(found) or said(old) == said(new)


def test_longest_lists_are_compared_as_a_whole_and_at_once() -> None:
    old, new = {"x": [{"a": 1}] * 50_000}, {"x": [{"a": 1}] * 50_001}
    assert [change.field for change in changes(old, new)] == ["x"]
