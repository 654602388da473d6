"""What a rule's conditions compared, in words a person reads: kept with each proposal as its reason."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from oracle_lib.decide import fields
from oracle_lib.decide.conditions import Condition, DaysSince, EventCount, HasTag, Leaf, SegmentIs, leaves
from oracle_lib.decide.matching import Layout


def evidence(condition: Condition, layout: Layout, row: Mapping[str, object], as_of: date) -> dict[str, object]:
    """Return each compared value by a name that says what it is; unknown values are None, traits are left out.

    Traits are personal data; their names stand in the rule's version.
    """
    found: dict[str, object] = {}
    for leaf in leaves(condition):
        if named := _named(leaf, layout, row, as_of):
            found[named[0]] = named[1]
    return found


def _named(leaf: Leaf, layout: Layout, row: Mapping[str, object], as_of: date) -> tuple[str, object] | None:
    match leaf:
        case SegmentIs(field):
            return field, _plain(fields.SEGMENT[field], row[fields.SEGMENT[field].column])
        case EventCount(event, within_days):
            window = "" if within_days is None else f" in {within_days} days"
            return f"{event}{window}", row[layout.counts[event, within_days]]
        case DaysSince(event):
            last = row[layout.lasts[event]]
            return f"days since {event}", (as_of - last).days if isinstance(last, date) else None
        case HasTag(tag):
            return f"tag {tag}", row[layout.tags[tag]]
        case _:
            return None


def _plain(field: fields.Field, value: object) -> object:
    if field.kind == "percent" and isinstance(value, float):
        return fields.percent(value)
    return str(value) if isinstance(value, Decimal) else value
