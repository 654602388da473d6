"""The five files of OULAD that are read, checked before anything is made of them: names, columns, numbers."""

import csv
import gzip
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oracle_lib.errors import Invalid

_PRESENTATION = ("code_module", "code_presentation")
FILES: dict[str, tuple[str, ...]] = {
    "courses": (*_PRESENTATION, "module_presentation_length"),
    "assessments": (*_PRESENTATION, "id_assessment", "assessment_type", "date", "weight"),
    "studentInfo": (
        *_PRESENTATION,
        "id_student",
        "gender",
        "region",
        "highest_education",
        "imd_band",
        "age_band",
        "num_of_prev_attempts",
        "studied_credits",
        "disability",
        "final_result",
    ),
    "studentRegistration": (*_PRESENTATION, "id_student", "date_registration", "date_unregistration"),
    "studentAssessment": ("id_assessment", "id_student", "date_submitted", "is_banked", "score"),
}
# Part of the data set too: the clicks, which are not read.
NOT_READ = ("vle", "studentVle")
_MISSING = ("", "?")


@dataclass(frozen=True)
class Row:
    """One row of a file; `place` says where it stands, for a message."""

    place: str
    cells: dict[str, str]

    def text(self, column: str) -> str:
        """Return a cell that must hold something."""
        value = self.cells[column]
        if value in _MISSING:
            raise self.wrong(column, "is missing")
        return value

    def number(self, column: str) -> float | None:
        """Return a cell's number; None where it is missing."""
        value = self.cells[column]
        if value in _MISSING:
            return None
        try:
            return float(value)
        except ValueError as error:
            raise self.wrong(column, f"must be a number, not {value[:40]!r}") from error

    def day(self, column: str) -> int | None:
        """Return a cell's whole number of days from the start of the presentation; None where it is missing."""
        found = self.number(column)
        if found is not None and not (found.is_integer() and abs(found) < 10_000):
            raise self.wrong(column, f"must be a whole number of days, not {self.cells[column][:40]!r}")
        return None if found is None else int(found)

    @property
    def course_id(self) -> str:
        """The presentation it is about, such as `BBB-2013J`."""
        return f"{self.text('code_module')}-{self.text('code_presentation')}"

    def wrong(self, column: str, what: str) -> Invalid:
        """Return the error that says what is wrong in a column of this row."""
        return Invalid(f"{self.place}: `{column}` {what}.", field=column, code="bad_value")


def read_files(folder: Path) -> tuple[dict[str, list[Row]], bytes]:
    """Return the rows of each file of `FILES` and the SHA-256 of them all. Raises `Invalid`, naming what is wrong."""
    expected = f"OULAD has {', '.join(f'{name}.csv' for name in FILES)}, each also as .csv.gz"
    if not folder.is_dir():
        raise Invalid(f"{folder} is no folder. {expected}.", field="path", code="no_folder")
    found = _named_files(folder, expected)
    digest = hashlib.sha256()
    rows = {}
    for name, columns in FILES.items():
        content = _content(found[name])
        digest.update(f"{name} {len(content)} ".encode() + content)
        rows[name] = list(_rows(found[name].name, content, columns))
    return rows, digest.digest()


def _named_files(folder: Path, expected: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.removesuffix(".gz")
        if not name.endswith(".csv"):
            continue
        subject = name.removesuffix(".csv")
        if subject not in FILES and subject not in NOT_READ:
            raise Invalid(f"Unknown file {path.name}. {expected}.", field="path", code="unknown_file")
        # Of a file that is there twice, the first by name is read: the unpacked one.
        found.setdefault(subject, path)
    missing = [f"{name}.csv" for name in FILES if name not in found]
    if missing:
        raise Invalid(f"{', '.join(missing)} not found in {folder}. {expected}.", field="path", code="missing_file")
    return found


def _content(path: Path) -> bytes:
    try:
        packed = path.read_bytes()
        return gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (OSError, EOFError) as error:
        raise Invalid(f"{path.name} cannot be read: {error}.", field="path", code="no_file") from error


def _rows(file: str, content: bytes, columns: tuple[str, ...]) -> Iterator[Row]:
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = next(reader, [])
        _check_header(file, header, columns)
        for cells in reader:
            if len(cells) != len(header):
                raise Invalid(
                    f"{file}, line {reader.line_num}: {len(cells)} cells instead of {len(header)}.",
                    field="path",
                    code="bad_csv",
                )
            yield Row(f"{file}, line {reader.line_num}", dict(zip(header, cells, strict=True)))
    except (csv.Error, UnicodeDecodeError) as error:
        raise Invalid(f"{file} is no valid CSV in UTF-8: {error}.", field="path", code="bad_csv") from error


def _check_header(file: str, header: list[str], columns: tuple[str, ...]) -> None:
    if sorted(header) != sorted(columns):
        unknown = [repr(name) for name in header if name not in columns]
        missing = [repr(name) for name in columns if name not in header]
        what = [f"unknown column {', '.join(unknown)}"] * bool(unknown)
        what += [f"missing column {', '.join(missing)}"] * bool(missing)
        raise Invalid(
            f"{file}: {' and '.join(what) or 'a column is named twice'}. Expected {', '.join(columns)}.",
            field=(unknown or missing or ["path"])[0].strip("'")[:200],
            code="unknown_column" if unknown else "missing_column",
        )
