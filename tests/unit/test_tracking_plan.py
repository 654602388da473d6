"""The tracking plan: an event is held against its schema, and only that one; a bad schema is refused when it is put."""

import json
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sqlalchemy import Connection

from oracle_lib.errors import Invalid, NotFound
from oracle_lib.observe import rejected, tracking_plan, wire
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.rejected import Terms
from oracle_lib.observe.wire import Limits
from oracle_lib.storage.tables import audit_log, events, rejected_events
from tests import world
from tests.conftest import NOW

LIMITS = Limits(currency="USD", late=None)
LESSON = {
    "type": "object",
    "required": ["courseId", "lessonId"],
    "properties": {"courseId": {"type": "string"}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
}


def put(conn: Connection, schema: dict[str, Any], mode: tracking_plan.Mode = "reject") -> tracking_plan.Plan:
    tracking_plan.put(conn, "lesson_complete", schema, mode, by="a test", now=NOW)
    return tracking_plan.load(conn)


def lesson(**facts: object) -> bytes:
    return world.event("u", "lesson_complete", NOW, metadata=facts)


def test_an_event_off_plan_is_refused_with_field_and_fix_and_kept(conn: Connection, now: datetime) -> None:
    door = Door(source="shop", limits=LIMITS, plan=put(conn, LESSON))
    sent = [lesson(courseId="c", lessonId="l"), lesson(courseId="c"), world.event("u", "login", NOW)]
    report = ingest(conn, sent, door=door, received_at=now)
    assert (report.accepted, report.warnings) == (2, [])
    [refused] = report.rejected
    assert (refused.index, refused.code, refused.field) == (1, "off_plan", "metadata.lessonId")
    assert refused.detail == "The tracking plan refuses it: `metadata.lessonId`: 'lessonId' is a required property."
    assert conn.scalar(sa.select(rejected_events.c.reason_code)) == "off_plan"


def test_in_warn_mode_it_is_stored_and_each_thing_wrong_is_told(conn: Connection, now: datetime) -> None:
    door = Door(source="shop", limits=LIMITS, plan=put(conn, LESSON, "warn"))
    sent = [lesson(courseId="c", lessonId="l"), lesson(courseId=5, lessonId="l", stars=9)]
    report = ingest(conn, sent, door=door, received_at=now)
    assert (report.accepted, report.rejected) == (2, [])
    assert [(one.index, one.field) for one in report.warnings] == [(1, "metadata.courseId"), (1, "metadata.stars")]
    assert conn.scalar(sa.select(sa.func.count()).select_from(events)) == 2


def test_what_was_refused_comes_in_once_the_plan_allows_it(conn: Connection, now: datetime) -> None:
    plan = put(conn, LESSON)
    ingest(conn, [lesson(courseId="c")], door=Door(source="shop", limits=LIMITS, plan=plan), received_at=now)
    assert rejected.replay(conn, terms=Terms(LIMITS, plan=plan), now=now).still_rejected == {"off_plan": 1}
    tracking_plan.remove(conn, "lesson_complete", by="a test", now=now)
    plan = tracking_plan.load(conn)
    assert rejected.replay(conn, terms=Terms(LIMITS, plan=plan), now=now).accepted == 1
    assert rejected.replay(conn, terms=Terms(LIMITS, plan=plan), now=now).seen == 0


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "nothing"}, "schema.type"),
        ({"properties": {"a": {"minimum": "x"}}}, "schema.properties.a.minimum"),
        ({"$ref": "https://example.com/schema.json"}, "its own `$defs` only"),
        ({"$ref": "file:///etc/passwd"}, "its own `$defs` only"),
        ({"properties": {"a": {"$ref": "#/$defs/gone"}}}, "which is not in it"),
        ({"$id": "https://example.com/"}, "its own `$defs` only"),
        ({"description": "\x00"}, "NUL"),
        ({"description": "x" * 40_000}, "at most 32768"),
    ],
)
def test_a_schema_that_cannot_hold_is_refused_when_it_is_put(
    conn: Connection, schema: dict[str, Any], says: str
) -> None:
    with pytest.raises(Invalid, match=says.replace("$", r"\$").replace(".", r"\.")):
        put(conn, schema)


def test_a_schema_may_refer_to_itself_even_without_end(conn: Connection, now: datetime) -> None:
    inner = {"$defs": {"star": {"type": "integer"}}, "properties": {"stars": {"$ref": "#/$defs/star"}}}
    plan = put(conn, inner)
    door = Door(source="shop", limits=LIMITS, plan=plan)
    assert ingest(conn, [lesson(stars=1), lesson(stars="x")], door=door, received_at=now).accepted == 1
    door = Door(source="shop", limits=LIMITS, plan=put(conn, {"allOf": [{"$ref": "#"}]}))
    [refused] = ingest(conn, [lesson(stars=2)], door=door, received_at=now).rejected
    assert refused.code == "off_plan"


def test_every_change_stands_in_the_audit_log(conn: Connection, now: datetime) -> None:
    put(conn, LESSON)
    tracking_plan.remove(conn, "lesson_complete", by="somebody", now=now)
    rows = conn.execute(sa.select(audit_log.c.actor, audit_log.c.verb, audit_log.c.subject).order_by(audit_log.c.id))
    assert [tuple(row) for row in rows] == [
        ("a test", "tracking_plan.put", "event:lesson_complete"),
        ("somebody", "tracking_plan.removed", "event:lesson_complete"),
    ]
    with pytest.raises(NotFound):
        tracking_plan.remove(conn, "lesson_complete", by="somebody", now=now)


SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text("ab\u00e9", max_size=3)
FACTS = st.dictionaries(st.sampled_from("abc"), SCALARS | st.lists(SCALARS, max_size=3), max_size=3)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "null"])
PROPERTY = st.fixed_dictionaries({}, optional={"type": TYPES, "minimum": st.integers(-3, 3), "maxLength": st.just(2)})
SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object")},
    optional={
        "required": st.lists(st.sampled_from("abc"), unique=True),
        "properties": st.dictionaries(st.sampled_from("abc"), PROPERTY),
        "additionalProperties": st.booleans(),
    },
)


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=SCHEMAS, facts=FACTS)
def test_an_event_is_refused_if_and_only_if_its_metadata_breaks_the_schema(
    conn: Connection, schema: dict[str, Any], facts: dict[str, object]
) -> None:
    plan = put(conn, schema)
    body = json.dumps({"userId": "u", "event": "lesson_complete", "metadata": facts}).encode()
    valid = Draft202012Validator(schema).is_valid(facts)
    try:
        event = wire.parse(body, NOW, LIMITS)
    except Invalid:
        return
    if valid:
        assert plan.warnings(event) == []
    else:
        with pytest.raises(Invalid):
            plan.warnings(event)
