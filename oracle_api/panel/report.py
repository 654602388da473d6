"""The week's report shaped for its page: sections of lines whose numbers are already words.

It is read from what was kept (`Report.body`), never counted again. Numbers are written as the panel writes them
everywhere: thousands with commas, percent with one decimal, signed changes with + and the real minus.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from oracle_lib.clock import DAY
from oracle_lib.tell.ceo_report import Report
from oracle_lib.tell.report_catalogue import SECTIONS
from oracle_lib.tell.report_figures import WEEK
from oracle_lib.tell.report_markdown import CAUTION, MINUS, TYPE_NAMES

_NO_DATA = "no data"
_BY_TYPE = ("proposed", "approved", "rejected", "executed", "failed")
_BY_RULE = ("executed", "opened", "clicked", "converted")


@dataclass(frozen=True)
class Line:
    """One figure in words."""

    id: str
    label: str
    definition: str
    value: str
    before: str
    change: str


@dataclass(frozen=True)
class Section:
    """Figures that belong together."""

    name: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Row:
    """One line of a table: what it is about, and its numbers."""

    name: str
    numbers: Sequence[str]


@dataclass(frozen=True)
class ReportPage:
    """What the page shows."""

    first: str
    last: str
    made_at: datetime
    currency: str
    caution: str
    sections: Sequence[Section]
    types: Sequence[Row]
    rules: Sequence[Row]


def shaped(report: Report) -> ReportPage:
    """Return the kept report as its page shows it."""
    body, currency = report.body, report.body["currency"]
    return ReportPage(
        first=_day(report.week),
        last=_day(report.week + WEEK - DAY),
        made_at=report.made_at,
        currency=currency,
        caution=CAUTION,
        sections=[
            Section(name, [_line(one, currency) for one in body["figures"] if one["section"] == name])
            for name in SECTIONS
        ],
        types=[Row(TYPE_NAMES[row["actionType"]], [f"{row[name]:,}" for name in _BY_TYPE]) for row in body["byType"]],
        rules=[_rule(row, currency) for row in body["byRule"]],
    )


def _line(figure: Mapping[str, Any], currency: str) -> Line:
    return Line(
        id=figure["id"],
        label=figure["label"],
        definition=figure["definition"],
        value=_value(figure["value"], figure["unit"], currency),
        before=_value(figure["before"], figure["unit"], currency),
        change=_change(figure["change"], figure["unit"], currency),
    )


def _rule(row: Mapping[str, Any], currency: str) -> Row:
    counts = [f"{row[name]:,}" for name in _BY_RULE]
    ends = [_value(row["conversionRate"], "percent", currency), _value(row["revenue"], "money", currency)]
    return Row(row["rule"], [*counts, *ends])


def _value(value: Any, unit: str, currency: str) -> str:
    match unit:
        case _ if value is None:
            return _NO_DATA
        case "money":
            return f"{Decimal(value):,.2f} {currency}"
        case "percent":
            return f"{value:.1f} %"
    return f"{value:,}"


def _change(change: Any, unit: str, currency: str) -> str:
    if change is None:
        return _NO_DATA
    amount = Decimal(str(change))
    sign = "+" if amount > 0 else MINUS if amount < 0 else ""
    size = _value(abs(amount), unit, currency) if unit != "percent" else f"{abs(amount):.1f} points"
    return f"{sign}{size}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"
