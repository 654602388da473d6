"""Condition trees compiled with Ibis: many rules, one scan over users, one boolean column a rule.

Users are joined with their segment, last activity, traits, tags and only those event counts that some rule mentions.
Values enter as Ibis literals, names from our own tables. The same expression runs on PostgreSQL and DuckDB
(`tests/unit/test_conditions.py` holds both against a plain Python evaluator). A window of n days is `as_of` and the
n - 1 days before it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from operator import and_, eq, ge, gt, le, lt, ne, or_

import ibis
import sqlalchemy as sa

from oracle_lib.decide import fields
from oracle_lib.decide.conditions import (
    ACTIVITY,
    All,
    AnyOf,
    Condition,
    DaysSince,
    EventCount,
    HasTag,
    Leaf,
    Not,
    SegmentIs,
    TraitIs,
    Value,
    leaves,
)
from oracle_lib.storage import tables
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables.activity import EVENT_KINDS

_COMPARE: dict[str, Callable[..., ibis.Value]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
# More days since an event is an earlier day of it.
_EARLIER = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

# Last days that stand in `activity`: nobody's whole history is read for them.
_LAST_KEPT = {
    ACTIVITY: "last_active_on",
    "lesson_complete": "last_lesson_on",
    "course_complete": "last_course_complete_on",
}


@dataclass(frozen=True)
class Layout:
    """Where the wide row keeps what the conditions mention: a column for each count, last day and tag."""

    counts: dict[tuple[str, int | None], str]
    lasts: dict[str, str]
    tags: dict[str, str]
    segment: tuple[str, ...]

    @classmethod
    def of(cls, conditions: Mapping[str, Condition]) -> "Layout":
        """Collect what all conditions mention."""
        found = [leaf for condition in conditions.values() for leaf in leaves(condition)]
        counts = {(leaf.event, leaf.within_days) for leaf in found if isinstance(leaf, EventCount)}
        lasts = {leaf.event for leaf in found if isinstance(leaf, DaysSince)}
        tags = {leaf.tag for leaf in found if isinstance(leaf, HasTag)}
        ordered = sorted(counts, key=lambda one: (one[0], one[1] or 0))
        return cls(
            counts={key: f"count_{n}" for n, key in enumerate(ordered)},
            lasts={event: f"last_{n}" for n, event in enumerate(sorted(lasts))},
            tags={tag: f"tag_{n}" for n, tag in enumerate(sorted(tags))},
            segment=tuple(sorted({leaf.field for leaf in found if isinstance(leaf, SegmentIs)})),
        )

    @property
    def columns(self) -> list[str]:
        """The columns that hold what was compared."""
        segment = [fields.SEGMENT[name].column for name in self.segment]
        return [*self.counts.values(), *self.lasts.values(), *self.tags.values(), *segment]


def matches(conditions: Mapping[str, Condition], as_of: date, users: ibis.Table | None = None) -> ibis.Table:
    """Return the users for whom at least one condition holds: user_id, a boolean a condition, and what was compared.

    `conditions` is by column name. `users` (a relation with user_id) narrows the scan. The columns of `Layout` and the
    segment columns come along as evidence.
    """
    layout = Layout.of(conditions)
    wide = _wide(layout, as_of, users)
    compiled = {name: _compile(condition, wide, layout, as_of) for name, condition in conditions.items()}
    scanned = wide.select("user_id", *layout.columns, **compiled)
    return scanned.filter(reduce(or_, [scanned[name] for name in conditions]))


def _wide(layout: Layout, as_of: date, users: ibis.Table | None) -> ibis.Table:
    base = relation(tables.users)
    wide = base.select(user_id=base.id, traits=base.traits)
    if users is not None:
        wide = wide.semi_join(users, "user_id")
    segments = relation(tables.segments)
    columns = sorted({fields.SEGMENT[name].column for name in layout.segment})
    wide = _joined(wide, segments.select("user_id", *columns))
    kept = {column: _LAST_KEPT[event] for event, column in layout.lasts.items() if event in _LAST_KEPT}
    if kept:
        wide = _joined(wide, relation(tables.activity).select("user_id", **kept))
    for counted in _counted(layout, as_of, users):
        wide = _joined(wide, counted)
    if layout.tags:
        tags = relation(tables.user_tags)
        held = tags.filter(tags.tag.isin(list(layout.tags)))
        flags = {column: (held.tag == ibis.literal(tag)).any() for tag, column in layout.tags.items()}
        wide = _joined(wide, held.group_by("user_id").aggregate(**flags))
    zero = {column: wide[column].fill_null(0) for column in layout.counts.values()}
    false = {column: wide[column].fill_null(ibis.literal(value=False)) for column in layout.tags.values()}
    return wide.mutate(**zero, **false)


def _joined(wide: ibis.Table, other: ibis.Table) -> ibis.Table:
    return wide.left_join(other, "user_id").drop("user_id_right")


def _counted(layout: Layout, as_of: date, users: ibis.Table | None) -> list[ibis.Table]:
    """Aggregate the day tables, each at most once: known kinds have columns of their own, other names have rows."""
    made: list[ibis.Table] = []
    for known, table in ((True, tables.user_days), (False, tables.user_day_events)):
        counts = {key: column for key, column in layout.counts.items() if (key[0] in EVENT_KINDS) == known}
        lasts = {
            event: column
            for event, column in layout.lasts.items()
            if event not in _LAST_KEPT and (event in EVENT_KINDS) == known
        }
        if counts or lasts:
            made.append(_aggregate(table, counts, lasts, as_of, users))
    return made


def _aggregate(
    table: sa.Table,
    counts: dict[tuple[str, int | None], str],
    lasts: dict[str, str],
    as_of: date,
    users: ibis.Table | None,
) -> ibis.Table:
    days = relation(table)
    days = days.filter(days.day <= _day(as_of))
    windows = [within for _, within in counts]
    bounds = [within for within in windows if within is not None]
    if not lasts and len(bounds) == len(windows):
        days = days.filter(days.day > _day(as_of - timedelta(days=max(bounds))))
    if users is not None:
        days = days.semi_join(users, "user_id")
    if "event" in days.columns:
        names = sorted({event for event, _ in counts} | set(lasts))
        days = days.filter(days.event.isin(names))
    measures: dict[str, ibis.Value] = {}
    for (event, within), column in counts.items():
        inside = ibis.literal(value=True) if within is None else days.day > _day(as_of - timedelta(days=within))
        measures[column] = _times(days, event).sum(where=inside).cast("int64")
    for event, column in lasts.items():
        measures[column] = days.day.max(where=_times(days, event) > 0)
    return days.group_by("user_id").aggregate(**measures)


def _times(days: ibis.Table, event: str) -> ibis.Value:
    if "event" in days.columns:
        return ibis.ifelse(days.event == ibis.literal(event), days.n, 0)
    return days[event]


def _compile(condition: Condition, wide: ibis.Table, layout: Layout, as_of: date) -> ibis.Value:
    match condition:
        case All(parts):
            return reduce(and_, [_compile(part, wide, layout, as_of) for part in parts])
        case AnyOf(parts):
            return reduce(or_, [_compile(part, wide, layout, as_of) for part in parts])
        case Not(part):
            return ~_compile(part, wide, layout, as_of)
        case _:
            return _leaf(condition, wide, layout, as_of).fill_null(ibis.literal(value=False))


def _leaf(leaf: Leaf, wide: ibis.Table, layout: Layout, as_of: date) -> ibis.Value:
    match leaf:
        case SegmentIs(field, op, value):
            return _segment(fields.SEGMENT[field], wide, op, value)
        case EventCount(event, within_days, op, value):
            return _COMPARE[op](wide[layout.counts[event, within_days]], ibis.literal(value))
        case DaysSince(event, op, value):
            return _COMPARE[_EARLIER[op]](wide[layout.lasts[event]], _day(as_of - timedelta(days=value)))
        case TraitIs(name, op, value):
            return _trait(wide.traits[name], op, value)
        case HasTag(tag):
            return wide[layout.tags[tag]]


def _segment(field: fields.Field, wide: ibis.Table, op: str, value: Value) -> ibis.Value:
    column = wide[field.column]
    match field.kind:
        case "percent":
            return _compared((column * 100 + 0.5).floor().cast("int32"), op, value, int)
        case "integer":
            return _compared(column, op, value, int)
        case "money":
            return _compared(column, op, value, lambda one: ibis.literal(Decimal(str(one)), type="decimal(16, 2)"))
        case _:
            return _compared(column, op, value, str)


def _trait(trait: ibis.Value, op: str, value: Value) -> ibis.Value:
    text, number, truth = trait.unwrap_as("string"), trait.unwrap_as("float64"), trait.unwrap_as("boolean")
    if value is None:
        unknown = text.isnull() & number.isnull() & truth.isnull()
        return unknown if op == "=" else ~unknown
    first = value[0] if isinstance(value, tuple) else value
    match first:
        case bool():
            return _compared(truth, op, value, bool)
        case str():
            return _compared(text, op, value, str)
        case _:
            return _compared(number, op, value, float)


def _compared(column: ibis.Value, op: str, value: Value, literal: Callable[..., object]) -> ibis.Value:
    if value is None:
        return column.isnull() if op == "=" else column.notnull()
    if isinstance(value, tuple):
        return column.isin([literal(one) for one in value])
    made = literal(value)
    return _COMPARE[op](column, made if isinstance(made, ibis.Value) else ibis.literal(made))


def _day(day: date) -> ibis.Value:
    return ibis.date(day.year, day.month, day.day)
