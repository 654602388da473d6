"""The academy's courses: what progress is measured against, and what they cost.

A course is put as a whole: lessons that are no longer named are gone from it, and their order is the order given.
Users who learn in a course whose lessons changed are queued, because their progress did too.
"""

import re
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.errors import Invalid, NotFound
from oracle_lib.observe import wire
from oracle_lib.storage.tables import courses, dirty_users, lessons, user_lessons

MAX_LESSONS = 2_000
MAX_TITLE = 500
_MAX_PRICE = Decimal("9999999999.99")
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class Lesson:
    """One lesson; `module_id` names the part of the course it belongs to."""

    id: str
    title: str
    module_id: str | None = None


@dataclass(frozen=True)
class Course:
    """A course and its lessons in their order. `price` is in the installation's currency; None: not sold by itself."""

    title: str
    price: Decimal | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    lessons: tuple[Lesson, ...] = field(default=())


def get(conn: Connection, course_id: str) -> Course:
    """Return a course with its lessons in order. Raises `NotFound`."""
    row = conn.execute(sa.select(courses).where(courses.c.id == course_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no course {course_id}.")
    named = (
        sa.select(lessons.c.id, lessons.c.title, lessons.c.module_id)
        .where(lessons.c.course_id == course_id)
        .order_by(lessons.c.position)
    )
    found = tuple(Lesson(**one._mapping) for one in conn.execute(named))
    return Course(row.title, row.price, row.starts_on, row.ends_on, found)


def put(conn: Connection, course_id: str, course: Course, *, now: datetime | None = None) -> None:
    """Make a course be what `course` says; the same twice changes nothing. Raises `Invalid` with the field's name.

    `now` is when it was changed; without one, the transaction's time.
    """
    _check(course_id, course)
    values = {
        "title": course.title,
        "price": course.price,
        "starts_on": course.starts_on,
        "ends_on": course.ends_on,
    }
    fresh = insert(courses).values(id=course_id, **values)
    stands = sa.tuple_(*(courses.c[name] for name in values))
    differs = stands.is_distinct_from(sa.tuple_(*(fresh.excluded[name] for name in values)))
    moved = now if now is not None else sa.func.now()
    conn.execute(
        fresh.on_conflict_do_update(index_elements=["id"], set_={**values, "updated_at": moved}, where=differs)
    )
    if _put_lessons(conn, course_id, course.lessons):
        learners = sa.select(sa.literal("activity"), user_lessons.c.user_id, sa.literal("course")).where(
            user_lessons.c.course_id == course_id
        )
        conn.execute(sa.insert(dirty_users).from_select(["stage", "user_id", "cause"], learners.distinct()))


def _put_lessons(conn: Connection, course_id: str, wanted: tuple[Lesson, ...]) -> bool:
    """Replace a course's lessons; return whether one came or went."""
    values = {
        "course_id": course_id,
        "ids": [lesson.id for lesson in wanted],
        "titles": [lesson.title for lesson in wanted],
        "modules": [lesson.module_id for lesson in wanted],
    }
    gone = conn.execute(_REMOVE, {"course_id": course_id, "ids": values["ids"]}).rowcount
    came = conn.execute(_WRITE, values).scalars().all()
    return gone > 0 or any(came)


_REMOVE = sa.text("DELETE FROM lessons WHERE course_id = :course_id AND id <> ALL (CAST(:ids AS text[]))")
# Answers for each row that was written whether it is a new one.
_WRITE = sa.text(
    "INSERT INTO lessons AS l (course_id, id, title, module_id, position)"
    " SELECT CAST(:course_id AS text), id, title, module_id, position"
    " FROM unnest(CAST(:ids AS text[]), CAST(:titles AS text[]), CAST(:modules AS text[]))"
    " WITH ORDINALITY AS wanted(id, title, module_id, position)"
    " ON CONFLICT (course_id, id) DO UPDATE"
    " SET title = excluded.title, module_id = excluded.module_id, position = excluded.position"
    " WHERE (l.title, l.module_id, l.position)"
    " IS DISTINCT FROM (excluded.title, excluded.module_id, excluded.position)"
    " RETURNING old.id IS NULL"
)


def _check(course_id: str, course: Course) -> None:
    wire.check_id("courseId", course_id)
    _check_title("title", course.title)
    if course.price is not None and not (course.price.is_finite() and 0 <= course.price <= _MAX_PRICE):
        raise Invalid(f"`price` must lie between 0 and {_MAX_PRICE}.", field="price", code="out_of_range")
    if course.starts_on is not None and course.ends_on is not None and course.ends_on < course.starts_on:
        raise Invalid("`endsOn` lies before `startsOn`.", field="endsOn", code="out_of_range")
    if len(course.lessons) > MAX_LESSONS:
        raise Invalid(f"`lessons` has more than {MAX_LESSONS}.", field="lessons", code="too_many")
    seen: set[str] = set()
    for place, lesson in enumerate(course.lessons):
        wire.check_id(f"lessons.{place}.id", lesson.id)
        if lesson.module_id is not None:
            wire.check_id(f"lessons.{place}.moduleId", lesson.module_id)
        _check_title(f"lessons.{place}.title", lesson.title)
        if lesson.id in seen:
            raise Invalid(f"`lessons` names {lesson.id!r} twice.", field=f"lessons.{place}.id", code="duplicate_lesson")
        seen.add(lesson.id)


def _check_title(name: str, title: str) -> None:
    if not title.strip() or len(title) > MAX_TITLE or _FORBIDDEN.search(title):
        raise Invalid(f"`{name}` must have 1 to {MAX_TITLE} characters.", field=name, code="bad_title")
