"""Courses over HTTP: a put makes the tables say what the body says."""

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import courses, dirty_users, lessons, user_lessons

COURSE = {
    "title": "Python from zero",
    "price": "49.90",
    "startsOn": "2026-02-01",
    "lessons": [
        {"id": "l1", "title": "Hello", "moduleId": "m1"},
        {"id": "l2", "title": "Names"},
        {"id": "l3", "title": "Loops"},
    ],
}


def stored(store: Store) -> list[tuple[str, str, int]]:
    with store.transaction() as conn:
        rows = conn.execute(sa.select(lessons).order_by(lessons.c.position)).all()
    return [(row.id, row.title, row.position) for row in rows]


def test_a_course_reads_back_as_it_stands_in_the_tables(client: httpx.Client, store: Store) -> None:
    put = client.put("/api/oracle/courses/c1", json=COURSE)
    assert put.status_code == 200
    got = client.get("/api/oracle/courses/c1").json()
    assert got == put.json()
    assert (got["id"], got["title"], got["price"], got["startsOn"]) == ("c1", "Python from zero", "49.90", "2026-02-01")
    assert [(one["id"], one["moduleId"]) for one in got["lessons"]] == [("l1", "m1"), ("l2", None), ("l3", None)]
    with store.transaction() as conn:
        row = conn.execute(sa.select(courses)).one()
    assert (row.id, row.title, str(row.price)) == ("c1", "Python from zero", "49.90")
    assert stored(store) == [("l1", "Hello", 1), ("l2", "Names", 2), ("l3", "Loops", 3)]


def test_lessons_that_are_no_longer_named_are_gone_and_the_order_is_the_one_given(
    client: httpx.Client, store: Store
) -> None:
    client.put("/api/oracle/courses/c1", json=COURSE)
    lessons_now = [{"id": "l3", "title": "Loops"}, {"id": "l1", "title": "Welcome"}]
    client.put("/api/oracle/courses/c1", json={**COURSE, "lessons": lessons_now})
    assert stored(store) == [("l3", "Loops", 1), ("l1", "Welcome", 2)]
    assert client.put("/api/oracle/courses/c1", json={"title": "Empty"}).json()["lessons"] == []
    assert stored(store) == []


def test_its_learners_are_analyzed_again_when_its_lessons_change_and_only_then(
    client: httpx.Client, store: Store
) -> None:
    with store.transaction() as conn:
        done = {"user_id": "u1", "day": "2026-02-02", "course_id": "c1", "lesson_id": "l1"}
        conn.execute(sa.insert(user_lessons).values(done))
    queued = sa.select(sa.func.count()).select_from(dirty_users)
    counts = []
    for body in (COURSE, COURSE, {**COURSE, "title": "Python"}, {**COURSE, "lessons": COURSE["lessons"][:2]}):
        client.put("/api/oracle/courses/c1", json=body)
        with store.transaction() as conn:
            counts.append(conn.scalar(queued))
    assert counts == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": " "}, "title"),
        ({"title": "a\x00"}, "title"),
        ({"title": "T", "price": -1}, "price"),
        ({"title": "T", "price": "NaN"}, "price"),
        ({"title": "T", "startsOn": "2026-02-01", "endsOn": "2026-01-01"}, "endsOn"),
        ({"title": "T", "lessons": [{"id": "l1", "title": "A"}, {"id": "l1", "title": "B"}]}, "lessons.1.id"),
        ({"title": "T", "lessons": [{"id": "", "title": "A"}]}, "lessons.0.id"),
        ({"title": "T", "updatedAt": "2026-01-01T00:00:00Z"}, "updatedAt"),
    ],
)
def test_a_bad_field_is_refused_by_name(client: httpx.Client, body: dict[str, object], field: str) -> None:
    answer = client.put("/api/oracle/courses/c1", json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


def test_an_unknown_course_is_404(client: httpx.Client) -> None:
    assert client.get("/api/oracle/courses/none").status_code == 404
