"""Rules: refused with the place that is wrong, versions that never change, texts that can be filled in for anybody."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from oracle_lib.decide import definition, rules_engine, starters, templates
from oracle_lib.decide.definition import Definition, Message
from oracle_lib.errors import Conflict, Invalid, NotFound
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import rule_versions

BODY: dict[str, object] = {
    "name": "cheer",
    "trigger": "event_based",
    "conditions": {"event": "quiz_pass", "within_days": 1},
    "actionType": "email",
    "actionData": {"subject": "Well done", "content": 'Hi {{ first_name or "there" }}'},
}
UNKNOWN = dict.fromkeys(templates.FACTS)


def read(**fields: object) -> Definition:
    return definition.read({**BODY, **fields})


def test_a_rule_has_the_defaults_of_the_specification() -> None:
    rule = read()
    assert (rule.priority, rule.cooldown, rule.max_per_user, rule.is_active) == (5, 24, None, True)
    assert (rule.approval, rule.message_class, rule.goal) == ("review", "marketing", None)


def test_what_is_written_is_read_back() -> None:
    rule = read(goal={"event": "purchase", "within_days": 7}, maxPerUser=2, expiresAt="2026-05-01T00:00:00+00:00")
    rule = replace(rule, topic="new courses")
    assert definition.read(definition.wire(rule)) == rule


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"colour": 1}, "colour"),
        ({"name": " "}, "name"),
        ({"trigger": "daily"}, "trigger"),
        ({"actionType": "fax"}, "actionType"),
        ({"priority": 11}, "priority"),
        ({"priority": True}, "priority"),
        ({"cooldown": -1}, "cooldown"),
        ({"maxPerUser": 0}, "maxPerUser"),
        ({"expiresAt": "2026-05-01T00:00:00"}, "expiresAt"),
        ({"approval": "never"}, "approval"),
        ({"goal": {"event": "purchase"}}, "goal.within_days"),
        ({"topic": "x" * 61}, "topic"),
        ({"topic": "new\ncourses"}, "topic"),
        ({"topic": " new courses"}, "topic"),
        ({"topic": "receipts", "messageClass": "transactional"}, "topic"),
        ({"actionData": {"content": "Hi"}}, "actionData.subject"),
        ({"actionData": {"subject": "Hi", "content": "{{ salary }}"}}, "actionData.content"),
        ({"actionData": {"subject": "{{ first_name", "content": "Hi"}}, "actionData.subject"),
        ({"actionType": "tag"}, "actionData.subject"),
        ({"conditions": {"event": "quiz_pass", "count": {"op": "=", "value": 0}}}, "conditions"),
        ({"conditions": {"not": {"event": "quiz_pass"}}}, "conditions"),
        ({"trigger": "time_based"}, "conditions"),
        ({"trigger": "segment_based", "conditions": {"segment": "persona", "op": "=", "value": "x"}}, "conditions"),
    ],
)
def test_a_rule_that_is_wrong_or_could_never_fire_is_refused_with_its_place(
    fields: dict[str, object], place: str
) -> None:
    with pytest.raises(Invalid) as refused:
        read(**fields)
    assert refused.value.field == place


def test_publishing_makes_the_next_version_and_the_old_one_stands(conn: Connection, now: datetime) -> None:
    first = rules_engine.create(conn, read(), actor="anna", now=now)
    second = rules_engine.publish(conn, first.id, replace(first.definition, priority=9), actor="anna", now=now)
    same = rules_engine.publish(conn, first.id, second.definition, actor="anna", now=now)
    assert (first.version, second.version, same.version) == (1, 2, 2)
    kept = conn.execute(sa.select(rule_versions.c.version, rule_versions.c.definition["priority"]).order_by("version"))
    assert kept.all() == [(1, 5), (2, 9)]
    with pytest.raises(DBAPIError, match="never changed"), conn.begin_nested():
        conn.execute(sa.update(rule_versions).values(definition={}))


def test_who_publishes_over_a_version_they_have_not_seen_is_told(conn: Connection, now: datetime) -> None:
    rule = rules_engine.create(conn, read(), actor="anna", now=now)
    rules_engine.publish(conn, rule.id, read(priority=9), actor="anna", now=now, seen_version=1)
    with pytest.raises(Conflict) as refused:
        rules_engine.publish(conn, rule.id, read(priority=2), actor="bea", now=now, seen_version=1)
    assert refused.value.current is not None
    assert refused.value.current["priority"] == 9


def test_a_name_is_taken_once_and_an_unknown_rule_is_not_found(conn: Connection, now: datetime) -> None:
    rules_engine.create(conn, read(), actor="anna", now=now)
    with pytest.raises(Conflict):
        rules_engine.create(conn, read(), actor="anna", now=now)
    with pytest.raises(NotFound):
        rules_engine.publish(conn, UUID(int=0), read(), actor="anna", now=now)


def test_of_two_who_want_a_name_at_once_one_is_told_that_it_is_taken(store: Store, now: datetime) -> None:
    with store.transaction() as conn:
        rule = rules_engine.create(conn, read(), actor="anna", now=now)

    def rename() -> None:
        with store.transaction() as theirs:
            rules_engine.publish(theirs, rule.id, read(name="hooray"), actor="bea", now=now)

    with ThreadPoolExecutor(1) as other:
        with store.transaction() as conn:
            rules_engine.create(conn, read(name="hooray"), actor="anna", now=now)
            late = other.submit(rename)
            with pytest.raises(TimeoutError):
                late.result(timeout=0.3)
        with pytest.raises(Conflict, match="already"):
            late.result(timeout=10)


def test_five_starters_are_installed_once_and_each_has_a_goal(conn: Connection, now: datetime) -> None:
    assert rules_engine.install_starters(conn, now) == 5
    assert rules_engine.install_starters(conn, now) == 0
    rules = rules_engine.listing(conn)
    assert {rule.definition.name for rule in rules} == {
        "welcome",
        "keep going",
        "stuck",
        "win-back",
        "upsell at momentum",
    }
    assert all(rule.definition.goal for rule in rules)
    assert len(rules_engine.active(conn, ("event_based",), now)) == 2


@pytest.mark.parametrize("rule", starters.rules(), ids=lambda rule: rule.name)
def test_a_starter_reads_well_for_somebody_known_and_for_a_stranger_and_claims_nothing_false(rule: Definition) -> None:
    assert isinstance(rule.action, Message)
    known = {**UNKNOWN, "first_name": "Ada", "course_title": "Calm", "progress": 40, "lessons_done": 4}
    for facts in (UNKNOWN, {**known, "lessons_this_week": 3}):
        text = templates.body(rule.action.words.content, facts)
        assert ("Ada" in text) == (facts["first_name"] == "Ada")
        assert "💚" in text
        for wrong in ("None", "{{", " AI", "as a human", "I remember", "when I "):
            assert wrong not in text
        if rule.action.words.subject:
            assert "None" not in templates.line(rule.action.words.subject, facts)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ first_name.__init__.__globals__ }}",
        "{{ 'x' * 1000000000 }}",
        "{% for n in [1, 2] %}x{% endfor %}",
        "{% include 'secret' %}",
        "{{ range(3) }}",
        "{{ lipsum() }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ first_name | pprint }}",
        "{{ 1 / 0 }}",
        "{{ progress + 1 }}",
    ],
)
def test_a_template_that_reaches_out_or_fails_for_a_stranger_is_refused(source: str) -> None:
    with pytest.raises(Invalid):
        templates.check(source, field="content")


def test_what_a_profile_holds_is_text_and_never_template_or_header() -> None:
    facts = {**UNKNOWN, "first_name": "{{ 7*7 }}\r\nBcc: x@y.z\x00"}
    assert templates.line("Hi {{ first_name }}", facts) == "Hi {{ 7*7 }} Bcc: x@y.z"
    assert "49" not in templates.body("Hi {{ first_name }}", facts)
