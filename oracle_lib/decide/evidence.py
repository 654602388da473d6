"""What a rule's conditions compared, in words a person reads: kept with each proposal as its reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

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


@dataclass(frozen=True)
class Compared:
    """What one leaf compares: a `name` that says what it is, its column of the wide row, how its values are `told`."""

    name: str
    column: str
    told: Callable[[object], object]


def compared(condition: Condition, layout: Layout, as_of: date) -> tuple[Compared, ...]:
    """Return what a condition compares, asked once for all users.

    Of a change or a sequence the value is the day. Traits are personal data and left out; their names stand in the
    rule's version.
    """
    return tuple(one for leaf in leaves(condition) if (one := _named(leaf, layout, as_of)))


def evidence(of: Sequence[Compared], row: Mapping[str, object]) -> dict[str, object]:
    """Return the values that stand in a user's row, by name; unknown ones are None."""
    return {one.name: None if (value := row[one.column]) is None else one.told(value) for one in of}


def _named(leaf: Leaf, layout: Layout, as_of: date) -> Compared | None:
    match leaf:
        case SegmentIs(name):
            return _of_field(name, fields.SEGMENT[name])
        case PredictionIs(target):
            return _of_field(f"probability of {target}", fields.PREDICTED[target])
        case DaysSince(event):
            return Compared(f"days since {event}", layout.lasts[event], partial(_days_until, as_of))
        case HasTag(tag):
            return Compared(f"tag {tag}", layout.tags[tag], _as_it_is)
        case TraitIs():
            return None
        case _:
            return _of_the_past(leaf, layout)


def _of_the_past(
    leaf: Changed | EventCount | EventSum | Followed | MessageCount | CourseProgress, layout: Layout
) -> Compared:
    match leaf:
        case Changed():
            return Compared(f"{_move(leaf)}{_window(leaf.within_days)}", layout.changes[leaf], _iso)
        case Followed(first, then, follows, days):
            order = "then" if follows else "without"
            return Compared(f"{first} {order} {then}{_window(days)}", layout.sequences[leaf], _iso)
        case EventCount(event, days):
            return Compared(f"{event}{_window(days)}", layout.counts[event, days], _as_it_is)
        case EventSum(of, days):
            return Compared(f"{of}{_window(days)}", layout.sums[of, days], str)
        case MessageCount(what, channel, template, days):
            words = (channel or "messages", template, what.replace("_", " "))
            name = f"{' '.join(word for word in words if word)}{_window(days)}"
            return Compared(name, layout.messages[sent(leaf)], _as_it_is)
        case CourseProgress(course):
            return Compared(f"progress in {course}", layout.courses[course], _as_it_is)


def _of_field(name: str, field: fields.Field) -> Compared:
    told: dict[str, Callable[[object], object]] = {"percent": _percent, "money": str}
    return Compared(name, field.column, told.get(field.kind, _as_it_is))


def _move(leaf: Changed) -> str:
    """Say which change it was, such as `churnLevel rose from low` or `engagementLevel changed to dormant`."""
    verb = "rose" if leaf.steps > 0 else "fell" if leaf.steps < 0 else "changed"
    by = f" by {abs(leaf.steps)}" if abs(leaf.steps) > 1 else ""
    ends = f"{f' from {leaf.before}' if leaf.before else ''}{f' to {leaf.after}' if leaf.after else ''}"
    return f"{leaf.field} {verb}{by}{ends}"


def _window(days: int | None) -> str:
    return "" if days is None else f" in {days} days"


def _as_it_is(value: object) -> object:
    return value


def _iso(day: object) -> str | None:
    return day.isoformat() if isinstance(day, date) else None


def _days_until(as_of: date, last: object) -> int | None:
    return (as_of - last).days if isinstance(last, date) else None


def _percent(probability: object) -> int | None:
    return fields.percent(probability) if isinstance(probability, float) else None
