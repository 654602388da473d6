"""Who withdraws from a course within 30 days of its 60th: OULAD (Kuzilek, Hlosta, Zdrahal 2017).

A row is an enrolment that stands at the end of a day of its presentation. Rows of days 45, 60 and 75 train, so that the
few withdrawals teach more than once; rows of day 60 test. Only what was submitted until then is seen, and of the
student how often they tried before and the credits they study; demographics are not read.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from oracle_lib.analyze.candidates import Rows
from oracle_lib.errors import Invalid
from oracle_lib.evaluate.report import Evaluation, evaluate
from oracle_lib.observe.oulad import starts_on
from oracle_lib.observe.oulad_files import Row, read_files

DAY, WITHIN = 60, 30
TRAINED_DAYS = (45, DAY, 75)
_QUESTION = f"Enrolled at the end of day {DAY}: does the student withdraw within {WITHIN} days?"


@dataclass(frozen=True)
class _Submission:
    day: int
    score: float | None
    late: int | None


@dataclass
class _Enrolment:
    """One student in one presentation; days count from its start."""

    course_id: str
    starts_on: date
    student: int
    registered: int | None
    withdrawn: int | None
    attempts: float
    credits: float
    submissions: list[_Submission] = field(default_factory=list)

    def stands(self, day: int) -> bool:
        """Whether they are enrolled at the end of a day."""
        return (self.registered is None or self.registered <= day) and (self.withdrawn is None or self.withdrawn > day)


def run(train: Path, test: Path | None) -> Evaluation:
    """Evaluate: without `test` the latest presentation of `train` tests, and the earlier ones train."""
    older, due = _read(train)
    if test is not None:
        later, due_later = _read(test)
        return evaluate(_QUESTION, _rows(older, due, TRAINED_DAYS), _rows(later, due_later, (DAY,)))
    latest = max(one.starts_on for one in older)
    earlier = [one for one in older if one.starts_on < latest]
    if not earlier:
        raise Invalid(f"All of {train} starts on {latest}: give --test, or files of several presentations.")
    later = [one for one in older if one.starts_on == latest]
    return evaluate(_QUESTION, _rows(earlier, due, TRAINED_DAYS), _rows(later, due, (DAY,)))


def _read(folder: Path) -> tuple[list[_Enrolment], dict[str, list[int]]]:
    """Return the enrolments, and the days on which each course's assessments were due."""
    files, _ = read_files(folder)
    made: dict[tuple[str, str], _Enrolment] = {}
    info = {(row.course_id, row.text("id_student")): row for row in files["studentInfo"]}
    for row in files["studentRegistration"]:
        key = (row.course_id, row.text("id_student"))
        about = info.get(key)
        if about is None:
            raise row.wrong("id_student", "is not in studentInfo")
        made[key] = _Enrolment(
            course_id=key[0],
            starts_on=starts_on(row),
            student=int(key[1]),
            registered=row.day("date_registration"),
            withdrawn=row.day("date_unregistration"),
            attempts=about.number("num_of_prev_attempts") or 0.0,
            credits=about.number("studied_credits") or 0.0,
        )
    assessments = {row.text("id_assessment"): row for row in files["assessments"]}
    due: dict[str, list[int]] = defaultdict(list)
    for row in assessments.values():
        day = row.day("date")
        if day is not None:
            due[row.course_id].append(day)
    for row in files["studentAssessment"]:
        _submit(row, assessments, made)
    return list(made.values()), due


def _submit(row: Row, assessments: Mapping[str, Row], made: Mapping[tuple[str, str], _Enrolment]) -> None:
    """Add a submission to its enrolment; one that was carried over from an earlier presentation is no act of theirs."""
    assessment = assessments.get(row.text("id_assessment"))
    if assessment is None:
        raise row.wrong("id_assessment", "is not in assessments")
    enrolment = made.get((assessment.course_id, row.text("id_student")))
    day = row.day("date_submitted")
    if enrolment is None or day is None or row.text("is_banked").lower() in {"1", "true"}:
        return
    due = assessment.day("date")
    enrolment.submissions.append(_Submission(day, row.number("score"), None if due is None else day - due))


def _rows(enrolments: Sequence[_Enrolment], due: Mapping[str, Sequence[int]], days: Sequence[int]) -> Rows:
    import numpy as np
    import pandas as pd

    standing = [(one, day) for day in days for one in enrolments if one.stands(day)]
    if not standing:
        raise Invalid("No enrolment stands on the days asked for.")
    found = pd.DataFrame(list(_features(standing, due)), dtype=float)
    return Rows(
        features=found,
        recency=np.array([_silence(one, day) for one, day in standing]),
        user=np.array([one.student for one, _ in standing]),
        moment=np.array([float(one.starts_on.toordinal()) for one, _ in standing]),
        outcome=np.array([float(one.withdrawn is not None and one.withdrawn <= day + WITHIN) for one, day in standing]),
    )


def _features(
    standing: Sequence[tuple[_Enrolment, int]], due: Mapping[str, Sequence[int]]
) -> Iterator[dict[str, float | None]]:
    for one, day in standing:
        seen = sorted((sent for sent in one.submissions if sent.day <= day), key=lambda sent: sent.day)
        scores = [sent.score for sent in seen if sent.score is not None]
        late = [sent.late for sent in seen if sent.late is not None]
        asked = sum(when <= day for when in due.get(one.course_id, ()))
        yield {
            "silence": _silence(one, day),
            "never_submitted": float(not seen),
            "submitted": len(seen),
            "missed": max(asked - len(seen), 0),
            "share_submitted": min(len(seen) / asked, 1.0) if asked else None,
            "mean_score": sum(scores) / len(scores) if scores else None,
            "last_score": scores[-1] if scores else None,
            "mean_days_late": sum(late) / len(late) if late else None,
            "registered_for": None if one.registered is None else day - one.registered,
            "previous_attempts": one.attempts,
            "studied_credits": one.credits,
        }


def _silence(one: _Enrolment, day: int) -> float:
    """Return the days since the last submission; without one since the registration, or the start of the course."""
    seen = [sent.day for sent in one.submissions if sent.day <= day]
    return float(day - max(seen, default=one.registered or 0))
