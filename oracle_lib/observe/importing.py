"""Files of history: JSON lines as the API takes them, CSV with the same fields, and the folder of OULAD.

A row without a message id gets one from the content of the file and its place there, so that the same file adds nothing
twice. A row without a time is refused: what is history must not count as today. A row that is wrong is refused with its
reason and kept, the others are stored; a file that cannot be read as what it should be raises `Invalid` before anything
is stored. Files may be compressed (`.gz`).
"""

import csv
import gzip
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from oracle_lib.errors import Invalid
from oracle_lib.observe import oulad
from oracle_lib.observe.history import History, ImportReport, Progress, take_in
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store

__all__ = ["ImportReport", "import_csv", "import_jsonl", "import_oulad"]

CSV_REQUIRED = ("userId", "event", "timestamp")
CSV_OPTIONAL = ("metadata", "source", "sessionId", "messageId")
_NO_TIME = ""
_CHUNK = 1 << 20


def import_jsonl(
    store: Store, path: Path, *, settings: Settings, now: datetime, progress: Progress | None = None
) -> ImportReport:
    """Import one event a line, each as `POST /api/oracle/events` takes it; empty lines are skipped.

    Raises `Invalid` when there is no such file.
    """
    sha256 = _hash(path)
    with _opened(path) as file:
        rows = sum(1 for line in file if line.strip())
    history = History("jsonl", path.name, sha256, rows, lambda: _lines(path, sha256.hex()[:16]))
    return take_in(store, history, settings=settings, now=now, progress=progress)


def import_csv(
    store: Store, path: Path, *, settings: Settings, now: datetime, progress: Progress | None = None
) -> ImportReport:
    """Import a CSV file in UTF-8 whose header names `userId,event,timestamp` and any of `CSV_OPTIONAL`.

    `timestamp` is ISO 8601 with its zone, `metadata` a JSON object; an empty cell is a field that is not given. Raises
    `Invalid` for another header, another encoding or a broken quotation.
    """
    sha256 = _hash(path)
    rows = sum(1 for _ in _records(path))
    history = History("csv", path.name, sha256, rows, lambda: _csv_bodies(path, sha256.hex()[:16]))
    return take_in(store, history, settings=settings, now=now, progress=progress)


def import_oulad(
    store: Store, path: Path, *, settings: Settings, now: datetime, progress: Progress | None = None
) -> ImportReport:
    """Import the folder of OULAD: its presentations as courses, its assessments as lessons, and what people did.

    Raises `Invalid` for a file or column that is missing or unknown; it says what was expected.
    """
    history, courses = oulad.read(path)
    with store.transaction() as conn:
        oulad.put_courses(conn, courses, now)
    return take_in(store, history, settings=settings, now=now, progress=progress)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, unpacked. Raises `Invalid` when it cannot be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield cast("BinaryIO", file)
    except OSError as error:
        raise Invalid(
            f"{path.name} cannot be read: {error.strerror or error}.", field="path", code="no_file"
        ) from error


def _hash(path: Path) -> bytes:
    found = hashlib.sha256()
    with _opened(path) as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.digest()


def _lines(path: Path, file_id: str) -> Iterator[bytes]:
    with _opened(path) as file:
        rows = (line.strip() for line in file)
        for number, line in enumerate(line for line in rows if line):
            yield _historic(line, f"import-{file_id}-{number}")


def _historic(line: bytes, message_id: str) -> bytes:
    """Return the body with a message id, and with a time that is refused where it has none.

    What is no JSON object is left for the door to refuse.
    """
    try:
        body = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line
    wanting = {
        name: value
        for name, value in (("messageId", message_id), ("timestamp", _NO_TIME))
        if bytes(body.get(name, b"null")) == b"null"
    }
    return msgspec.json.encode({**body, **wanting}) if wanting else line


def _records(path: Path) -> Iterator[dict[str, str]]:
    """Yield a CSV file's rows by column; cells beyond the header under a name that the door refuses."""
    with _opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            _check_header(header)
            for cells in reader:
                if cells:
                    beyond = [f"column {place + 1}" for place in range(len(header), len(cells))]
                    yield dict(zip([*header, *beyond], cells, strict=False))
        except csv.Error as error:
            raise Invalid(
                f"{path.name} is no valid CSV near line {reader.line_num}: {error}.", field="path", code="bad_csv"
            ) from error
        except UnicodeDecodeError as error:
            raise Invalid(f"{path.name} is not UTF-8: {error}.", field="path", code="bad_encoding") from error


def _check_header(header: list[str]) -> None:
    expected = f"Expected {', '.join(CSV_REQUIRED)} and any of {', '.join(CSV_OPTIONAL)}."
    unknown = [name for name in header if name not in (*CSV_REQUIRED, *CSV_OPTIONAL)]
    if unknown:
        raise Invalid(f"Unknown column {unknown[0]!r}. {expected}", field=unknown[0][:200], code="unknown_column")
    missing = [name for name in CSV_REQUIRED if name not in header]
    if missing:
        raise Invalid(f"Column `{missing[0]}` is missing. {expected}", field=missing[0], code="missing_column")
    if len(set(header)) < len(header):
        raise Invalid(f"A column is named twice. {expected}", field="path", code="duplicate_column")


def _csv_bodies(path: Path, file_id: str) -> Iterator[bytes]:
    for number, record in enumerate(_records(path)):
        body: dict[str, object] = {name: cell for name, cell in record.items() if cell}
        body.setdefault("messageId", f"import-{file_id}-{number}")
        body.setdefault("timestamp", _NO_TIME)
        if "metadata" in body:
            body["metadata"] = _as_json(record["metadata"])
        yield msgspec.json.encode(body)


def _as_json(cell: str) -> object:
    """Return the cell as a JSON value; what is none stays text, which the door refuses as metadata."""
    try:
        return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(cell)))
    except (msgspec.DecodeError, RecursionError):
        return cell
