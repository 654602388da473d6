"""Condition trees as JSON: what `reading.parse` gives the same tree back for."""

from oracle_lib.decide.conditions.tree import (
    All,
    AnyOf,
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
    Not,
    PredictionIs,
    SegmentIs,
    TraitIs,
    Value,
)


def wire(condition: Condition) -> dict[str, object]:
    """Return the tree as JSON; `parse` gives the same tree back."""
    match condition:
        case All(parts):
            return {"all": [wire(part) for part in parts]}
        case AnyOf(parts):
            return {"any": [wire(part) for part in parts]}
        case Not(part):
            return {"not": wire(part)}
        case _:
            return _leaf(condition)


def _leaf(leaf: Leaf) -> dict[str, object]:
    match leaf:
        case SegmentIs(name, op, value):
            return {"segment": name, **_compared(op, value)}
        case PredictionIs(name, op, value):
            return {"prediction": name, **_compared(op, value)}
        case TraitIs(name, op, value):
            return {"trait": name, **_compared(op, value)}
        case DaysSince(event, op, value):
            return {"days_since": {"event": event, **_compared(op, value)}}
        case HasTag(tag):
            return {"tag": tag}
        case _:
            return _of_the_past(leaf)


def _of_the_past(
    leaf: Changed | EventCount | EventSum | Followed | MessageCount | CourseProgress,
) -> dict[str, object]:
    match leaf:
        case Changed(name, days, before, after, steps):
            moved = {"rose": max(steps, 0) or None, "fell": max(-steps, 0) or None}
            return _said({"change": name, "from": before, "to": after, **moved, "within_days": days})
        case EventCount(event, days, op, value):
            return _said({"event": event, "within_days": days, "count": _compared(op, value)})
        case EventSum(of, days, op, value):
            return _said({"sum": {"of": of, **_compared(op, value)}, "within_days": days})
        case Followed(first, then, follows, days, in_last_days):
            order = {"first": first, "then" if follows else "then_not": then}
            return {"sequence": {**order, "within_days": days, "in_last_days": in_last_days}}
        case CourseProgress(course, op, value):
            return {"progress": {"course": course, **_compared(op, value)}}
        case MessageCount(what, channel, template, days, op, value):
            chosen = {"message": what, "channel": channel, "template": template}
            return _said({**chosen, "within_days": days, "count": _compared(op, value)})


def _compared(op: str, value: Value) -> dict[str, object]:
    return {"op": op, "value": list(value) if isinstance(value, tuple) else value}


def _said(body: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if value is not None}
