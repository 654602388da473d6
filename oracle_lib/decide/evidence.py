"""What a rule's conditions compared, in words a person reads: kept with each proposal as its reason."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from oracle_lib.decide import fields
from oracle_lib.decide.conditions import (
    Changed,
    Condition,
    CourseProgress,
    DaysSince,
    EventCount,
    EventSum,
    Followed,
    HasTag,
    Leaf,
    MessageCount,
    PredictionIs,
    SegmentIs,
    TraitIs,
    leaves,
)
from oracle_lib.decide.layout import Layout, sent


def evidence(condition: Condition, layout: Layout, row: Mapping[str, object], as_of: date) -> dict[str, object]:
    """Return each compared value by a name that says what it is; unknown values are None, traits are left out.

    Of a change or a sequence the value is the day. Traits are personal data; their names stand in the rule's version.
    """
    found: dict[str, object] = {}
    for leaf in leaves(condition):
        if named := _named(leaf, layout, row, as_of):
            found[named[0]] = named[1]
    return found


def _named(leaf: Leaf, layout: Layout, row: Mapping[str, object], as_of: date) -> tuple[str, object] | None:
    match leaf:
        case SegmentIs(name):
            return name, _plain(fields.SEGMENT[name], row)
        case PredictionIs(target):
            return f"probability of {target}", _plain(fields.PREDICTED[target], row)
        case DaysSince(event):
            last = row[layout.lasts[event]]
            return f"days since {event}", (as_of - last).days if isinstance(last, date) else None
        case HasTag(tag):
            return f"tag {tag}", row[layout.tags[tag]]
        case TraitIs():
            return None
        case _:
            return _of_the_past(leaf, layout, row)


def _of_the_past(
    leaf: Changed | EventCount | EventSum | Followed | MessageCount | CourseProgress,
    layout: Layout,
    row: Mapping[str, object],
) -> tuple[str, object]:
    match leaf:
        case Changed():
            return f"{_move(leaf)}{_window(leaf.within_days)}", _iso(row[layout.changes[leaf]])
        case Followed(first, then, follows, days):
            order = "then" if follows else "without"
            return f"{first} {order} {then}{_window(days)}", _iso(row[layout.sequences[leaf]])
        case EventCount(event, days):
            return f"{event}{_window(days)}", row[layout.counts[event, days]]
        case EventSum(of, days):
            return f"{of}{_window(days)}", str(row[layout.sums[of, days]])
        case MessageCount(what, channel, template, days):
            words = (channel or "messages", template, what.replace("_", " "))
            return f"{' '.join(word for word in words if word)}{_window(days)}", row[layout.messages[sent(leaf)]]
        case CourseProgress(course):
            return f"progress in {course}", row[layout.courses[course]]


def _move(leaf: Changed) -> str:
    """Say which change it was, such as `churnLevel rose from low` or `engagementLevel changed to dormant`."""
    verb = "rose" if leaf.steps > 0 else "fell" if leaf.steps < 0 else "changed"
    by = f" by {abs(leaf.steps)}" if abs(leaf.steps) > 1 else ""
    ends = f"{f' from {leaf.before}' if leaf.before else ''}{f' to {leaf.after}' if leaf.after else ''}"
    return f"{leaf.field} {verb}{by}{ends}"


def _window(days: int | None) -> str:
    return "" if days is None else f" in {days} days"


def _iso(day: object) -> str | None:
    return day.isoformat() if isinstance(day, date) else None


def _plain(field: fields.Field, row: Mapping[str, object]) -> object:
    value = row[field.column]
    if field.kind == "percent" and isinstance(value, float):
        return fields.percent(value)
    return str(value) if isinstance(value, Decimal) else value
