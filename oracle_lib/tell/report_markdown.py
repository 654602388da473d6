"""The week's report as one Markdown page: a few plain sentences, then the figures in tables.

Words are chosen from the figures and never add to them. What came after a message is said to have followed it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from oracle_lib.clock import DAY
from oracle_lib.tell.report_catalogue import SECTIONS, Figure, Unit, Value
from oracle_lib.tell.report_figures import WEEK, RuleRow, TypeRow

TYPE_NAMES = {"email": "Email", "dm": "DM", "push": "Push", "post": "Post", "alert": "Alert"}
MINUS = "\N{MINUS SIGN}"
_NO_DATA = "no data"
_RULES_SHOWN = 10
CAUTION = (
    "Conversions say what followed a message in time; whether the message made the difference needs a group that did"
    " not get it."
)


@dataclass(frozen=True)
class Page:
    """What the page is written from."""

    week: date
    currency: str
    figures: tuple[Figure, ...]
    types: tuple[TypeRow, ...]
    rules: tuple[RuleRow, ...]

    def figure(self, name: str) -> Figure:
        """Return the figure with that id."""
        return next(line for line in self.figures if line.id == name)

    def text(self, name: str) -> str:
        """Return a figure's value in words."""
        line = self.figure(name)
        return _value(line.value, line.unit, self.currency)


def write(page: Page) -> str:
    """Return the page as Markdown."""
    last = page.week + WEEK - DAY
    parts = [
        f"# The week of {_day(page.week)}",
        f"Sunday {_day(page.week)} to Saturday {_day(last)}, UTC, beside the week before.",
        *_in_short(page),
        *(part for section in SECTIONS for part in _section(page, section)),
        *_rules(page),
        CAUTION,
        "## What the figures mean",
        "\n".join(f"- {line.label}: {line.definition}" for line in page.figures),
    ]
    return "\n\n".join(parts) + "\n"


def _in_short(page: Page) -> list[str]:
    return ["## In short", _activity_sentence(page), _action_sentence(page)]


def _activity_sentence(page: Page) -> str:
    active = page.figure("active_users")
    if active.value is None:
        return "No activity was recorded in this week."
    return (
        f"{_many(active.value, 'user was', 'users were')} active{_against(active, page.currency)},"
        f" and {page.text('new_users')} joined."
        f" They completed {_many(page.figure('lessons_completed').value, 'lesson', 'lessons')} and"
        f" {_many(page.figure('courses_completed').value, 'course', 'courses')}."
        f" Net revenue was {page.text('net_revenue')}{_against(page.figure('net_revenue'), page.currency)}:"
        f" {page.text('revenue')} came in and {page.text('refunds')} went back."
    )


def _action_sentence(page: Page) -> str:
    proposed = page.figure("actions_proposed").value
    if proposed is None:
        return "ORACLE had proposed nothing by the end of this week."
    return (
        f"ORACLE proposed {_many(proposed, 'action', 'actions')}; people or policies approved"
        f" {page.text('actions_approved')} and rejected {page.text('actions_rejected')};"
        f" {page.text('actions_executed')} were carried out and {page.text('actions_failed')} failed."
        f" {_many(page.figure('converted').value, 'action was', 'actions were')} followed in time by the rule's goal."
    )


def _against(line: Figure, currency: str) -> str:
    match line.change:
        case None:
            return " (the week before has no data)"
        case change if change == 0:
            return ", the same as the week before"
        case Decimal() as money:
            size = _value(abs(money), "money", currency)
            return f", {size} {'more' if money > 0 else 'less'} than the week before"
        case change:
            return f", {abs(change):,} {'more' if change > 0 else 'fewer'} than the week before"


def _section(page: Page, section: str) -> Iterable[str]:
    rows = [
        (
            line.label,
            _value(line.value, line.unit, page.currency),
            _value(line.before, line.unit, page.currency),
            _change(line, page.currency),
        )
        for line in page.figures
        if line.section == section
    ]
    yield f"## {section}"
    yield _table(("Figure", "This week", "Week before", "Change"), rows)
    if section == "What ORACLE did" and page.types:
        yield _table(
            ("Type", "Proposed", "Approved", "Rejected", "Executed", "Failed"),
            [
                (
                    TYPE_NAMES[row.action_type],
                    *(f"{n:,}" for n in (row.proposed, row.approved, row.rejected, row.executed, row.failed)),
                )
                for row in page.types
            ],
        )


def _rules(page: Page) -> Iterable[str]:
    if not page.rules:
        return
    yield "## By rule"
    yield _table(
        ("Rule", "Executed", "Opened", "Clicked", "Converted", "Conversion rate", "Money"),
        [
            (
                row.rule,
                *(f"{n:,}" for n in (row.executed, row.opened, row.clicked, row.converted)),
                _value(row.conversion_rate, "percent", page.currency),
                _value(row.revenue, "money", page.currency),
            )
            for row in page.rules[:_RULES_SHOWN]
        ],
    )
    if len(page.rules) > _RULES_SHOWN:
        yield f"{len(page.rules) - _RULES_SHOWN} more rules are in the figures."


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---", *("---:" for _ in head[1:])), *(tuple(_cell(text) for text in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Keep a name that a person typed from ending its cell or becoming markup."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _value(value: Value, unit: Unit, currency: str) -> str:
    if value is None:
        return _NO_DATA
    if unit == "money":
        return f"{value:,.2f} {currency}"
    return f"{value:.1f} %" if unit == "percent" else f"{value:,}"


def _change(line: Figure, currency: str) -> str:
    if line.change is None:
        return _NO_DATA
    size: Value = -line.change if line.change < 0 else line.change
    text = f"{size:.1f} points" if line.unit == "percent" else _value(size, line.unit, currency)
    return f"{'+' if line.change > 0 else MINUS if line.change < 0 else ''}{text}"


def _many(value: Value, one: str, many: str) -> str:
    return f"{value:,} {one if value == 1 else many}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"
