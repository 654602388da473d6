"""The condition tree: what it refuses and where, and that every engine and plain Python pick the same users."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import cast

import duckdb
import ibis
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.decide import conditions, fields
from oracle_lib.decide.conditions import (
    ACTIVITY,
    All,
    CourseProgress,
    DaysSince,
    EventCount,
    SegmentIs,
    parse,
    wire,
)
from oracle_lib.decide.matching import matches
from oracle_lib.errors import Invalid
from oracle_lib.storage import tables
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.publish import compiled, run
from tests.conftest import FULL, fresh_database
from tests.plain_conditions import READ, Plain, read
from tests.second_engine import copied

TODAY = date(2026, 3, 4)
EVENTS = ("login", "quiz_fail", "lesson_complete", "team_joined", "badge_won")
HOSTILE = (
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    "%s %(x)s :name {x} $1",
    "\" \\ \\' \\x27",
    "1) UNION SELECT NULL--",
    "admin'/*",
    "ünï💚\u202e",
    "$.a[*]",
    "\n\t\r",
)


@dataclass
class Person:
    """One user, to be stored."""

    id: str
    segment: dict[str, object] | None
    last_active: date | None
    days: dict[tuple[str, date], int]
    tags: set[str]
    traits: dict[str, object]


def people() -> list[Person]:
    """Two hundred users with gaps everywhere: no segment, no activity, unknown fields, odd traits."""
    pick = random.Random(7)
    made = []
    for number in range(200):
        segment: dict[str, object] | None = None
        if pick.random() < 0.9:
            segment = {
                "engagementLevel": pick.choice(["new", "active", "moderate", "dormant", "lost"]),
                "engagementScore": pick.randint(0, 100),
                "churnRisk": pick.choice([0.0, 0.005, 0.015, 0.5, 0.595, 0.6, 1.0, pick.random()]),
                "lifecycle": pick.choice(["lead", "new", "active", "engaged", "graduate", "alumni"]),
                "persona": pick.choice([None, "hobbyist", *HOSTILE]),
                "ltv": pick.choice([None, Decimal("0.00"), Decimal("49.90"), Decimal("500.00")]),
                "upgradeProb": pick.choice([None, 0.5, 0.25]),
                "progress": pick.choice([None, 0, 50, 100]),
            }
        days = {
            (event, TODAY - timedelta(days=pick.randint(-1, 12))): pick.randint(1, 3)
            for event in EVENTS
            for _ in range(pick.randint(0, 3))
        }
        last = None if pick.random() < 0.2 else TODAY - timedelta(days=pick.randint(0, 12))
        tags = {tag for tag in ("vip", *HOSTILE) if pick.random() < 0.2}
        values = ["pro", 5, 5.5, True, None, [1], {"a": 1}, *HOSTILE]
        traits = {name: pick.choice(values) for name in ("plan", "seats") if pick.random() < 0.8}
        made.append(Person(f"u{number:03}", segment, last, days, tags, traits))
    return made


PEOPLE = people()


@pytest.fixture(scope="module")
def stored(server: EmbeddedServer) -> Iterator[Connection]:
    with fresh_database(server) as url:
        store = Store(url)
        with store.engine.connect() as conn:
            for person in PEOPLE:
                _store(conn, person)
            yield conn
        store.close()


def _store(conn: Connection, person: Person) -> None:
    conn.execute(sa.insert(tables.users).values(id=person.id, traits=person.traits))
    if person.segment is not None:
        values = {fields.SEGMENT[name].column: value for name, value in person.segment.items()}
        conn.execute(sa.insert(tables.segments).values(user_id=person.id, **values))
    lessons = [day for event, day in person.days if event == "lesson_complete" and day <= TODAY]
    last = {"last_active_on": person.last_active, "last_lesson_on": max(lessons, default=None)}
    if any(last.values()):
        conn.execute(sa.insert(tables.activity).values(user_id=person.id, **last))
    for (event, day), times in person.days.items():
        if event in tables.user_days.c:
            row = {"user_id": person.id, "day": day, event: times}
            made = insert(tables.user_days).values(row)
            conn.execute(made.on_conflict_do_update(index_elements=["user_id", "day"], set_={event: times}))
        else:
            conn.execute(sa.insert(tables.user_day_events).values(user_id=person.id, day=day, event=event, n=times))
    for tag in person.tags:
        conn.execute(sa.insert(tables.user_tags).values(user_id=person.id, tag=tag, set_by="test"))


@pytest.fixture(scope="module")
def duck(stored: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with copied(stored, READ, tmp_path_factory.mktemp("rows")) as there:
        yield there


texts = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
)
numbers = st.sampled_from(["<", "<=", ">", ">=", "=", "!="])


def leaf() -> st.SearchStrategy[dict[str, object]]:
    whole = st.integers(0, 100)
    count = st.fixed_dictionaries({"op": numbers, "value": st.integers(0, 6)})
    since = st.fixed_dictionaries(
        {"event": st.sampled_from([*EVENTS, ACTIVITY]), "op": numbers, "value": st.integers(0, 14)}
    )
    return st.one_of(
        st.fixed_dictionaries(
            {
                "segment": st.sampled_from(["churnRisk", "upgradeProb", "progress", "engagementScore"]),
                "op": numbers,
                "value": st.sampled_from([0, 1, 2, 25, 50, 59, 60, 100]) | whole,
            }
        ),
        st.fixed_dictionaries(
            {"segment": st.just("ltv"), "op": numbers, "value": st.sampled_from([0, 49.9, 49.91, 500])}
        ),
        st.fixed_dictionaries(
            {
                "segment": st.sampled_from(["persona", "progress", "ltv", "churnRisk"]),
                "op": st.sampled_from(["=", "!="]),
                "value": st.none(),
            }
        ),
        st.fixed_dictionaries({"segment": st.just("persona"), "op": st.sampled_from(["=", "!="]), "value": texts}),
        st.fixed_dictionaries(
            {"segment": st.just("persona"), "op": st.just("in"), "value": st.lists(texts, min_size=1, max_size=3)}
        ),
        st.fixed_dictionaries(
            {"segment": st.just("progress"), "op": st.just("in"), "value": st.lists(whole, min_size=1, max_size=3)}
        ),
        st.fixed_dictionaries(
            {"event": st.sampled_from(EVENTS), "count": count}, optional={"within_days": st.integers(1, 14)}
        ),
        st.fixed_dictionaries({"days_since": since}),
        st.fixed_dictionaries(
            {
                "trait": st.sampled_from(["plan", "seats"]),
                "op": st.sampled_from(["=", "!="]),
                "value": st.one_of(texts, st.sampled_from(["pro", 5, 5.5, True, False, None])),
            }
        ),
        st.fixed_dictionaries({"trait": st.just("seats"), "op": numbers, "value": st.sampled_from([4, 5, 5.5])}),
        st.fixed_dictionaries({"tag": st.one_of(st.just("vip"), texts)}),
    )


trees = st.recursive(
    leaf(),
    lambda part: st.one_of(
        st.fixed_dictionaries({"all": st.lists(part, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(part, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": part}),
    ),
    max_leaves=6,
)


@given(st.lists(trees, min_size=4, max_size=12))
@settings(
    max_examples=800 if FULL else 25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_postgres_duckdb_and_plain_python_pick_the_same_users(
    stored: Connection, duck: duckdb.DuckDBPyConnection, plain: Plain, bodies: list[dict[str, object]]
) -> None:
    asked = {f"rule_{number}": parse(body) for number, body in enumerate(bodies)}
    rows = matches(asked, TODAY).select("user_id", *asked)
    there = duck.execute(str(ibis.to_sql(rows, dialect="duckdb"))).fetchall()
    expected = {name: plain.holders(condition) for name, condition in asked.items()}
    assert _picked(run(stored, compiled(rows)).all(), list(asked)) == expected
    assert _picked(there, list(asked)) == expected


@pytest.fixture(scope="module")
def plain(stored: Connection) -> Plain:
    return read(stored, TODAY)


def _picked(rows: object, names: list[str]) -> dict[str, set[str]]:
    listed = cast("list[tuple]", rows)
    return {name: {row[0] for row in listed if row[number]} for number, name in enumerate(names, start=1)}


@given(trees)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_tree_that_is_written_is_read_back(body: dict[str, object]) -> None:
    tree = parse(body)
    assert parse(wire(tree)) == tree


def test_the_flat_form_of_the_specification_is_a_tree() -> None:
    assert parse({"event": "lesson_complete", "days_since": 3}) == All((DaysSince("lesson_complete", ">=", 3),))
    tree = parse({"event": "login", "days_since": 7, "lifecycle": "active", "churnRisk": {"op": ">=", "value": 60}})
    assert isinstance(tree, All)
    assert set(tree.parts) == {
        DaysSince("login", ">=", 7),
        SegmentIs("lifecycle", "=", "active"),
        SegmentIs("churnRisk", ">=", 60),
    }
    assert parse({"event": "login", "within_days": 7, "count": 2}) == EventCount("login", 7, ">=", 2)


def test_progress_is_of_a_course_where_it_names_one_and_of_the_segment_where_it_does_not() -> None:
    of_course = {"progress": {"course": "python", "op": ">=", "value": 50}}
    assert parse(of_course) == CourseProgress("python", ">=", 50)
    assert parse({"progress": {"op": ">=", "value": 50}}) == All((SegmentIs("progress", ">=", 50),))
    assert parse({**of_course, "event": "login"}) == All((EventCount("login", None, ">=", 1), parse(of_course)))


def nested(depth: int) -> Mapping[str, object]:
    return {"tag": "vip"} if depth == 1 else {"not": nested(depth - 1)}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ([], "conditions"),
        ({}, "conditions"),
        ({"all": []}, "conditions.all"),
        ({"all": [{"tag": "a"}], "any": []}, "conditions.any"),
        ({"all": [{"tag": "a"}, {"segment": "churnRisk", "op": "~", "value": 1}]}, "conditions.all[1].op"),
        ({"segment": "lifecycle", "op": ">", "value": "new"}, "conditions.op"),
        ({"not": {"segment": "salary", "op": "=", "value": 1}}, "conditions.not.segment"),
        ({"segment": "lifecycle", "op": "=", "value": "asleep"}, "conditions.value"),
        ({"segment": "progress", "op": "=", "value": "50"}, "conditions.value"),
        ({"segment": "progress", "op": ">", "value": None}, "conditions.value"),
        ({"segment": "progress", "op": "=", "value": float("nan")}, "conditions.value"),
        ({"segment": "progress", "op": "=", "value": True}, "conditions.value"),
        ({"segment": "ltv", "op": ">", "value": 1.005}, "conditions.value"),
        ({"segment": "persona", "op": "in", "value": []}, "conditions.value"),
        ({"segment": "persona", "op": "in", "value": ["a", None]}, "conditions.value[1]"),
        ({"segment": "persona", "op": "=", "value": "a\x00"}, "conditions.value"),
        ({"event": "Login Now", "count": 1}, "conditions.event"),
        ({"event": "login", "within_days": 0}, "conditions.within_days"),
        ({"event": "login", "count": {"op": ">=", "value": 1.5}}, "conditions.count.value"),
        ({"event": "login", "colour": 1}, "conditions.colour"),
        ({"days_since": 3}, "conditions.days_since"),
        ({"days_since": {"event": "login", "op": "in", "value": 3}}, "conditions.days_since.op"),
        ({"trait": "a.b", "op": "=", "value": 1}, "conditions.trait"),
        ({"trait": "plan", "op": ">", "value": "pro"}, "conditions.value"),
        ({"trait": "plan", "op": "in", "value": ["a", 1]}, "conditions.value"),
        ({"tag": ""}, "conditions.tag"),
        ({"change": "persona", "within_days": 7}, "conditions.change"),
        ({"change": "lifecycle"}, "conditions.within_days"),
        ({"change": "lifecycle", "within_days": 7, "to": "asleep"}, "conditions.to"),
        ({"change": "lifecycle", "within_days": 7, "from": None}, "conditions.from"),
        ({"change": "lifecycle", "within_days": 7, "from": "new", "to": "new"}, "conditions.to"),
        ({"change": "lifecycle", "within_days": 7, "rose": True}, "conditions.rose"),
        ({"change": "churnLevel", "within_days": 7, "rose": False}, "conditions.rose"),
        ({"change": "churnLevel", "within_days": 7, "fell": 4}, "conditions.fell"),
        ({"change": "churnLevel", "within_days": 7, "rose": 1, "fell": 1}, "conditions.fell"),
        ({"sum": 100}, "conditions.sum"),
        ({"sum": {"of": "sessions", "op": ">", "value": 1}}, "conditions.sum.of"),
        ({"sum": {"of": "revenue", "op": "in", "value": [1]}}, "conditions.sum.op"),
        ({"sum": {"of": "revenue", "op": ">", "value": 0.001}}, "conditions.sum.value"),
        ({"sum": {"of": "seconds", "op": ">", "value": 0.5}}, "conditions.sum.value"),
        ({"sum": {"of": "revenue", "op": ">", "value": 10**400}}, "conditions.sum.value"),
        ({"event": "purchase", "sum": {"of": "revenue", "op": ">", "value": 1}}, "conditions.sum"),
        ({"sequence": "a then b"}, "conditions.sequence"),
        ({"sequence": {"first": "login", "within_days": 3}}, "conditions.sequence"),
        ({"sequence": {"first": "login", "then": "a", "then_not": "b", "within_days": 3}}, "conditions.sequence"),
        ({"sequence": {"first": "Login", "then": "a", "within_days": 3}}, "conditions.sequence.first"),
        ({"sequence": {"first": "a", "then_not": "a", "within_days": 3}}, "conditions.sequence.then_not"),
        ({"sequence": {"first": "a", "then": "b"}}, "conditions.sequence.within_days"),
        (
            {"sequence": {"first": "a", "then_not": "b", "within_days": 3, "in_last_days": 3}},
            "conditions.sequence.in_last_days",
        ),
        ({"message": "read"}, "conditions.message"),
        ({"message": "sent", "channel": "alert"}, "conditions.channel"),
        ({"message": "sent", "template": ""}, "conditions.template"),
        ({"message": "sent", "count": {"op": ">", "value": -1}}, "conditions.count.value"),
        ({"prediction": "rain", "op": ">", "value": 60}, "conditions.prediction"),
        ({"prediction": "upgrade", "op": ">", "value": 0.6}, "conditions.value"),
        ({"progress": {"course": "", "op": ">", "value": 50}}, "conditions.progress.course"),
        ({"progress": {"course": "python", "op": ">", "value": 101}}, "conditions.progress.value"),
        ({"all": [{"progress": {"op": ">", "value": 50}}]}, "conditions.all[0].progress.course"),
        (nested(11), "conditions" + ".not" * 10),
        ({"all": [{"tag": "a"}] * 100}, "conditions.all[99]"),
    ],
)
def test_a_refusal_names_the_place(body: object, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(body)
    assert refused.value.field == place
    assert place in str(refused.value)


def test_as_deep_and_as_wide_as_allowed_is_read() -> None:
    for body in (nested(10), {"all": [{"tag": "a"}] * 99}):
        read = parse(body)
        assert parse(conditions.wire(read)) == read


def test_a_hundred_thousand_deep_is_refused_and_not_a_crash() -> None:
    body: dict[str, object] = {"tag": "vip"}
    for _ in range(100_000):
        body = {"not": body}
    assert conditions.MAX_DEPTH == 10
    with pytest.raises(Invalid):
        parse(body)
