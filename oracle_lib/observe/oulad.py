"""The Open University Learning Analytics Dataset as events (Kuzilek, Hlosta, Zdrahal 2017, Sci. Data 4:170171).

A user is an `id_student`, a course a presentation such as `BBB-2013J`, a lesson an assessment. True dates are withheld:
by convention B starts on 1 February and J on 1 October, and a day counts from there, at 00:00 UTC.

- registration: `signup`; submission: `quiz_pass` from a score of 40, else `quiz_fail`, and `lesson_complete` unless it
  is banked (carried over from an earlier presentation);
- unregistration: `course_withdrawn`; a final result Pass or Distinction: `course_complete` on the last day.

`?` or an empty cell is a missing value, and nothing is made up for one: a registration or withdrawal without a day is
no event, a submission without a score is neither passed nor failed. What is left out so is counted. Demographics are
not read. An exam for which nobody's result is in the files is no lesson: progress could never be complete.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from oracle_lib.observe import courses
from oracle_lib.observe.courses import Course, Lesson
from oracle_lib.observe.history import History
from oracle_lib.observe.oulad_files import Row, read_files

PASS_MARK = 40
_STARTS = {"B": (2, 1), "J": (10, 1)}


@dataclass(frozen=True)
class _Assessment:
    course_id: str
    kind: str
    day: int | None
    taken: bool


@dataclass(frozen=True)
class _Presentation:
    title: str
    starts_on: date
    days: int
    lessons: tuple[Lesson, ...]


@dataclass
class _Made:
    """Events under construction: (day, message id, body) each, and what was left out."""

    presentations: dict[str, _Presentation]
    events: list[tuple[date, str, bytes]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, course_id: str, user_id: str, event: str, day: int, **facts: object) -> None:
        """Add what a user did on a day of a presentation. The message id is made of all that tells it from others."""
        on = self.presentations[course_id].starts_on + timedelta(days=day)
        about = f"-{facts['lessonId']}" if "lessonId" in facts else ""
        message_id = f"oulad-{course_id}-{user_id}-{event}{about}"
        body = {
            "userId": user_id,
            "event": event,
            "metadata": {"courseId": course_id, **facts},
            "source": "oulad",
            "timestamp": f"{on}T00:00:00Z",
            "messageId": message_id,
        }
        self.events.append((on, message_id, msgspec.json.encode(body)))


def read(folder: Path) -> tuple[History, dict[str, Course]]:
    """Return the folder's events, in order of time, and its courses by id. Raises `Invalid` for what is no OULAD."""
    files, sha256 = read_files(folder)
    assessments = _assessments(files)
    made = _Made(_presentations(files["courses"], assessments))
    withdrawn = _registrations(files["studentRegistration"], made)
    _submissions(files["studentAssessment"], assessments, made)
    _results(files["studentInfo"], withdrawn, made)
    made.events.sort()
    bodies = [body for _, _, body in made.events]
    history = History("oulad", folder.name, sha256, len(bodies), lambda: iter(bodies), dict(made.left_out))
    return history, {course_id: _course(one) for course_id, one in made.presentations.items()}


def put_courses(conn: Connection, found: dict[str, Course], now: datetime) -> None:
    """Make each presentation a course with its assessments as lessons."""
    for course_id, course in found.items():
        courses.put(conn, course_id, course, now=now)


def _course(one: _Presentation) -> Course:
    return Course(
        title=one.title,
        starts_on=one.starts_on,
        ends_on=one.starts_on + timedelta(days=one.days),
        lessons=one.lessons,
    )


def _assessments(files: dict[str, list[Row]]) -> dict[str, _Assessment]:
    taken = {row.text("id_assessment") for row in files["studentAssessment"]}
    return {
        row.text("id_assessment"): _Assessment(
            course_id=row.course_id,
            kind=row.text("assessment_type"),
            day=row.day("date"),
            taken=row.text("id_assessment") in taken,
        )
        for row in files["assessments"]
    }


def _presentations(rows: list[Row], assessments: dict[str, _Assessment]) -> dict[str, _Presentation]:
    lessons: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    for lesson_id, one in assessments.items():
        if one.taken or one.kind != "Exam":
            # Without a day it is due at the end.
            lessons[one.course_id].append((float("inf") if one.day is None else one.day, lesson_id, one.kind))
    found = {}
    for row in rows:
        days = row.day("module_presentation_length")
        if days is None:
            raise row.wrong("module_presentation_length", "is missing")
        found[row.course_id] = _Presentation(
            title=f"{row.text('code_module')} {row.text('code_presentation')}",
            starts_on=starts_on(row),
            days=days,
            lessons=_lessons(sorted(lessons[row.course_id])),
        )
    return found


def _lessons(due: list[tuple[float, str, str]]) -> tuple[Lesson, ...]:
    numbers: Counter[str] = Counter()
    found = []
    for _, lesson_id, kind in due:
        numbers[kind] += 1
        found.append(Lesson(id=lesson_id, title=f"{kind} {numbers[kind]}", module_id=kind))
    return tuple(found)


def starts_on(row: Row) -> date:
    """Return the day from which the days of a row's presentation count, by convention. Raises `Invalid`."""
    presentation = row.text("code_presentation")
    year, letter = presentation[:-1], presentation[-1]
    if letter not in _STARTS or not (year.isascii() and year.isdigit() and len(year) == 4):
        raise row.wrong("code_presentation", "must be a year and B (February) or J (October), e.g. `2013J`")
    return date(int(year), *_STARTS[letter])


def _registrations(rows: list[Row], made: _Made) -> set[tuple[str, str]]:
    """Add signups and withdrawals; return whose withdrawal from which course has a day."""
    withdrawn = set()
    for row in rows:
        course_id, user_id = _known(row, made), row.text("id_student")
        joined, left = row.day("date_registration"), row.day("date_unregistration")
        if joined is None:
            made.left_out["registration without a day"] += 1
        else:
            made.add(course_id, user_id, "signup", joined)
        if left is not None:
            made.add(course_id, user_id, "course_withdrawn", left)
            withdrawn.add((course_id, user_id))
    return withdrawn


def _submissions(rows: list[Row], assessments: dict[str, _Assessment], made: _Made) -> None:
    for row in rows:
        lesson_id, user_id = row.text("id_assessment"), row.text("id_student")
        if lesson_id not in assessments:
            raise row.wrong("id_assessment", f"{lesson_id[:40]} is not in assessments.csv")
        course_id = assessments[lesson_id].course_id
        day, score = row.day("date_submitted"), row.number("score")
        if day is None:
            made.left_out["submission without a day"] += 1
            continue
        if score is None:
            made.left_out["result of a submission without a score"] += 1
        else:
            event = "quiz_pass" if score >= PASS_MARK else "quiz_fail"
            made.add(course_id, user_id, event, day, lessonId=lesson_id, score=score)
        if not _is_banked(row):
            made.add(course_id, user_id, "lesson_complete", day, lessonId=lesson_id)


def _is_banked(row: Row) -> bool:
    value = row.text("is_banked").lower()
    if value not in ("0", "1", "false", "true"):
        raise row.wrong("is_banked", "must be 0 or 1, or True or False")
    return value in ("1", "true")


def _results(rows: list[Row], withdrawn: set[tuple[str, str]], made: _Made) -> None:
    for row in rows:
        course_id, user_id = _known(row, made), row.text("id_student")
        match row.text("final_result"):
            case "Pass" | "Distinction":
                made.add(course_id, user_id, "course_complete", made.presentations[course_id].days)
            case "Withdrawn" if (course_id, user_id) not in withdrawn:
                made.left_out["withdrawal without a day"] += 1
            case "Withdrawn" | "Fail":
                pass
            case other:
                raise row.wrong("final_result", f"must be Pass, Distinction, Fail or Withdrawn, not {other[:40]!r}")


def _known(row: Row, made: _Made) -> str:
    if row.course_id not in made.presentations:
        raise row.wrong("code_presentation", f"{row.course_id[:40]} is not in courses.csv")
    return row.course_id
