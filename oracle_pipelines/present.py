"""Reports as metadata: figures, counts as a table, a small plot, and the columns of the tables.

A run over many days copies its metadata to every partition, so there it carries figures only.
"""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape

import dagster as dg
import sqlalchemy as sa

Metadata = dict[str, dg.MetadataValue]

_TABLE_ROWS = 50
_BAR, _WIDTH, _LABEL = 22, 560, 170


def figures(report: object, *, detailed: bool = True) -> Metadata:
    """Return a report's fields as metadata; `detailed` adds tables and plots of those that count by name."""
    if not dataclasses.is_dataclass(report) or isinstance(report, type):
        raise TypeError(f"A stage returns a report dataclass, not {type(report).__name__}.")
    shown: Metadata = {}
    for field in dataclasses.fields(report):
        value = getattr(report, field.name)
        if isinstance(value, Mapping):
            shown |= _counts(field.name, value, detailed)
        else:
            shown[field.name] = _value(value)
    return shown


def rows(name: str, reports: Sequence[object]) -> Metadata:
    """Return several reports of one kind: their number, and what each says."""
    return {"count": dg.MetadataValue.int(len(reports)), name: dg.MetadataValue.json([_plain(one) for one in reports])}


def document(reports: Sequence[object]) -> Metadata:
    """Return the newest written report as it reads, and how many there are."""
    markdown = str(getattr(reports[-1], "markdown", "")) if reports else ""
    return {"count": dg.MetadataValue.int(len(reports)), "report": dg.MetadataValue.md(markdown)}


def columns(table: sa.Table) -> dict[str, dg.MetadataValue]:
    """Return the columns of a stored table as Dagster's column schema."""
    listed = [
        dg.TableColumn(
            name=column.name,
            type=str(column.type.compile(dialect=sa.dialects.postgresql.dialect())),
            constraints=dg.TableColumnConstraints(nullable=bool(column.nullable), unique=bool(column.unique)),
        )
        for column in table.columns
    ]
    return {
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns=listed)),
        "dagster/table_name": dg.MetadataValue.text(f"{table.schema or 'oracle'}.{table.name}"),
    }


def bars(counts: Mapping[str, float], title: str) -> dg.MetadataValue:
    """Return a bar chart as an image inside Markdown, drawn here: no plotting library, no file."""
    most = max(counts.values(), default=0) or 1
    height = _BAR * len(counts) + 30
    rows = []
    for place, (name, count) in enumerate(counts.items()):
        top = 30 + place * _BAR
        width = round((_WIDTH - _LABEL - 90) * count / most, 1)
        rows.append(
            f'<text x="{_LABEL - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_LABEL}" y="{top}" width="{width}" height="16" rx="2" fill="#4f6bed"/>'
            f'<text x="{_LABEL + width + 6}" y="{top + 12}">{count:,}</text>'
        )
    return _drawing(title, _WIDTH, height, "".join(rows))


def expected_and_actual(groups: Sequence[tuple[str, float, float]], title: str) -> dg.MetadataValue:
    """Return bars of (name, expected, actual): two for each group, one under the other."""
    pairs = {
        f"{name}, {word}": round(value)
        for name, *values in groups
        for word, value in zip(("expected", "came"), values, strict=True)
    }
    return bars(pairs, title)


def calibration(points: Sequence[tuple[float, float]], title: str) -> dg.MetadataValue:
    """Return (predicted, observed) shares as points: on the diagonal, predictions mean what they say."""
    left, top, side = 60, 30, 240
    bottom = top + side

    def at(predicted: float, observed: float) -> tuple[float, float]:
        return round(left + side * predicted, 1), round(bottom - side * observed, 1)

    marks = [
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#bbb"/>',
        f'<line x1="{left}" y1="{bottom}" x2="{left + side}" y2="{top}" stroke="#999" stroke-dasharray="4 3"/>',
        f'<text x="{left + side / 2}" y="{bottom + 32}" text-anchor="middle">predicted</text>',
        f'<text transform="translate(16 {top + side / 2}) rotate(-90)" text-anchor="middle">observed</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        x, y = at(share, share)
        marks.append(
            f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{share:.0%}</text>'
            f'<text x="{left - 5}" y="{y + 4}" text-anchor="end">{share:.0%}</text>'
        )
    for x, y in (at(*point) for point in points):
        marks.append(f'<circle cx="{x}" cy="{y}" r="4.5" fill="#4f6bed" fill-opacity="0.8"/>')
    return _drawing(title, left + side + 20, bottom + 44, "".join(marks))


def _drawing(title: str, width: float, height: float, marks: str) -> dg.MetadataValue:
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
        f' font-size="12" fill="#222"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="8" y="18" font-weight="bold">{escape(title)}</text>{marks}</svg>'
    )
    encoded = base64.b64encode(drawing.encode()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{encoded})")


def _counts(name: str, counts: Mapping[object, object], detailed: bool) -> Metadata:
    plain = {str(key): value for key, value in counts.items()}
    numbers = {key: value for key, value in plain.items() if isinstance(value, int | float)}
    if len(numbers) != len(plain):
        return {name: dg.MetadataValue.json({key: _plain(value) for key, value in plain.items()})}
    if not detailed:
        return {f"{name}_total": dg.MetadataValue.float(float(sum(numbers.values())))} if numbers else {}
    if not numbers:
        return {name: dg.MetadataValue.text("none")}
    most_first = dict(sorted(numbers.items(), key=lambda item: -item[1])[:_TABLE_ROWS])
    records = [dg.TableRecord({"value": key, "count": count}) for key, count in most_first.items()]
    return {
        name: dg.MetadataValue.table(records),
        f"{name}_plot": bars(most_first, name.replace("_", " ")),
    }


def _value(value: object) -> dg.MetadataValue:
    if isinstance(value, datetime):
        return dg.MetadataValue.timestamp(value)
    plain = _plain(float(value) if isinstance(value, Decimal) else value)
    if isinstance(plain, list | dict):
        return dg.MetadataValue.json(plain)
    # bool before int: True is an int to Python.
    kinds = ((bool, dg.MetadataValue.bool), (int, dg.MetadataValue.int), (float, dg.MetadataValue.float))
    for kind, made in kinds:
        if isinstance(plain, kind):
            return made(plain)
    return dg.MetadataValue.text("none" if plain is None else str(plain))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
