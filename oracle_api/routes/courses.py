"""`/api/oracle/courses/{id}`: a course, its price and its lessons."""

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.people import CourseIn, CourseOut
from oracle_api.schemas.words import Id
from oracle_lib.observe import courses
from oracle_lib.observe.courses import Course, Lesson

router = APIRouter(prefix="/api/oracle/courses", tags=["courses"])


@router.put("/{course_id:path}", dependencies=[needs("users:write")])
def put(conn: Conn, now: Now, course_id: Id, course: CourseIn) -> CourseOut:
    """Make a course be what the body says."""
    lessons = tuple(Lesson(lesson.id, lesson.title, lesson.module_id) for lesson in course.lessons)
    wanted = Course(course.title, course.price, course.starts_on, course.ends_on, lessons)
    courses.put(conn, course_id, wanted, now=now)
    return _shown(course_id, courses.get(conn, course_id))


@router.get("/{course_id:path}", dependencies=[needs("users:read")])
def get(conn: Conn, course_id: Id) -> CourseOut:
    """Return a course with its lessons in order."""
    return _shown(course_id, courses.get(conn, course_id))


def _shown(course_id: str, course: Course) -> CourseOut:
    return CourseOut.model_validate({"id": course_id, **vars(course)})
