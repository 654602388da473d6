"""The files of OULAD, read by hand: nothing here goes through the code under test."""

import csv
import gzip
import io
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

Row = dict[str, str]


class Happened(NamedTuple):
    """What a student did on a day, by the convention that DATA.md and `oracle_lib/observe/oulad.py` state."""

    user: str
    event: str
    day: date


def raw(data: Path, name: str) -> list[Row]:
    """The rows of one file, packed or not."""
    packed = data / "oulad" / f"{name}.csv.gz"
    text = gzip.decompress(packed.read_bytes()).decode() if packed.exists() else packed.with_suffix("").read_text()
    return list(csv.DictReader(io.StringIO(text)))


def start(presentation: str) -> date:
    """B starts on 1 February, J on 1 October."""
    return date(int(presentation[:4]), 2 if presentation[4] == "B" else 10, 1)


def given(value: str) -> bool:
    """Whether a cell holds a value."""
    return value not in {"", "?"}


def happened(data: Path) -> Iterator[Happened]:
    """Everything that has a day in the files."""
    length = {_course(row): int(row["module_presentation_length"]) for row in raw(data, "courses")}
    for row in raw(data, "studentRegistration"):
        for column, event in (("date_registration", "signup"), ("date_unregistration", "course_withdrawn")):
            if given(row[column]):
                yield Happened(row["id_student"], event, _on(row["code_presentation"], row[column]))
    presentation = {row["id_assessment"]: row["code_presentation"] for row in raw(data, "assessments")}
    for row in raw(data, "studentAssessment"):
        day = _on(presentation[row["id_assessment"]], row["date_submitted"])
        if given(row["score"]):
            yield Happened(row["id_student"], "quiz_pass" if float(row["score"]) >= 40 else "quiz_fail", day)
        if row["is_banked"] == "False":
            yield Happened(row["id_student"], "lesson_complete", day)
    for row in raw(data, "studentInfo"):
        if row["final_result"] in {"Pass", "Distinction"}:
            last = start(row["code_presentation"]) + timedelta(days=length[_course(row)])
            yield Happened(row["id_student"], "course_complete", last)


def _course(row: Row) -> tuple[str, str]:
    return row["code_module"], row["code_presentation"]


def _on(presentation: str, day: str) -> date:
    return start(presentation) + timedelta(days=int(day))
