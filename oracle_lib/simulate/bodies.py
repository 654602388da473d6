"""Simulated events as the JSON that a product backend would post: one body an event, the same bytes every time."""

from collections.abc import Sequence
from datetime import date

import numpy as np

from oracle_lib.simulate import campus
from oracle_lib.simulate.people import user_id
from oracle_lib.simulate.rows import NAMES, NONE, Rows

_ON_A_DEVICE = frozenset(NAMES.index(kind) for kind in ("login", "session_start", "page_view"))


def render(part: Rows, *, start: date, academy: str, first: int, mobile: Sequence[bool]) -> list[bytes]:
    """Return the bodies of `part`, whose first event is number `first` of the academy.

    `mobile` says of every user whether they come by phone.
    """
    moments = np.datetime_as_string(np.datetime64(start, "s") + part.at.astype("timedelta64[s]")).tolist()
    columns = zip(
        part.user.tolist(),
        part.kind.tolist(),
        part.course.tolist(),
        part.lesson.tolist(),
        part.seconds.tolist(),
        part.cents.tolist(),
        part.session.tolist(),
        _letter_names(part.letter, start),
        moments,
        strict=True,
    )
    bodies = []
    for number, (user, kind, course, lesson, seconds, cents, session, letter, moment) in enumerate(columns, first):
        facts = _facts(course, lesson, seconds, cents, letter)
        if kind in _ON_A_DEVICE:
            facts.append('"device":"mobile"' if mobile[user] else '"device":"desktop"')
        metadata = f'"metadata":{{{",".join(facts)}}},' if facts else ""
        visit = f'"sessionId":"{academy}-{session}",' if session != NONE else ""
        source = "email" if letter else "web"
        bodies.append(
            f'{{"userId":"{user_id(user)}","event":"{NAMES[kind]}",{metadata}{visit}"source":"{source}",'
            f'"timestamp":"{moment}Z","messageId":"sim-{academy}-{number}"}}'.encode()
        )
    return bodies


def _letter_names(days: np.ndarray, start: date) -> list[str | None]:
    dates = np.datetime_as_string(np.datetime64(start, "D") + days.astype("timedelta64[D]")).tolist()
    return [f"letter-{name}" if day != NONE else None for day, name in zip(days.tolist(), dates, strict=True)]


def _facts(course: int, lesson: int, seconds: int, cents: int, letter: str | None) -> list[str]:
    facts = []
    if course != NONE:
        offer = campus.COURSES[course]
        facts.append(f'"courseId":"{offer.id}"')
        if lesson != NONE:
            facts.append(f'"moduleId":"{offer.module_id(lesson)}","lessonId":"{offer.lesson_id(lesson)}"')
    if seconds != NONE:
        facts.append(f'"timeSpent":{seconds}')
    if cents != NONE:
        facts.append(f'"amount":{cents // 100}.{cents % 100:02d},"currency":"{campus.CURRENCY}"')
    if letter:
        facts.append(f'"emailId":"{letter}","template":"weekly_letter","subject":"This week at the academy"')
    return facts
