"""Condition trees compiled with Ibis: many rules, one scan over users, one boolean column a rule.

Users are joined with their segment, traits, tags and only what some rule mentions of their days, changes, messages and
courses (`measures.py`, `history.py`). Values enter as Ibis literals, names from our own tables. The same expression
runs on PostgreSQL and DuckDB (`tests/unit/test_conditions.py` holds both against a plain Python evaluator). A window of
n days is `as_of` and the n - 1 days before it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from operator import and_, eq, ge, gt, le, lt, ne, or_

import ibis

from oracle_lib.decide import fields, history
from oracle_lib.decide.conditions import (
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
from oracle_lib.decide.layout import Layout, sent
from oracle_lib.decide.measures import day, measured
from oracle_lib.storage import tables
from oracle_lib.storage.relations import relation

_COMPARE: dict[str, Callable[..., ibis.Value]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
# More days since an event is an earlier day of it.
_EARLIER = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def matches(
    conditions: Mapping[str, Condition], as_of: date, users: ibis.Table | None = None, *, standing: bool = False
) -> ibis.Table:
    """Return the users for whom at least one condition holds: user_id, a boolean a condition, and what was compared.

    `conditions` is by column name. `users` (a relation with user_id) narrows the scan. Where `activity` is `standing`
    for `as_of`, windows that it keeps are read there. The columns of `Layout` and the segment columns come along as
    evidence.
    """
    scanned = judged(conditions, as_of, users, standing=standing)
    return scanned.filter(reduce(or_, [scanned[name] for name in conditions]))


def judged(
    conditions: Mapping[str, Condition], as_of: date, users: ibis.Table | None = None, *, standing: bool = False
) -> ibis.Table:
    """Return the same of every user, also of those for whom no condition holds."""
    layout = Layout.of(conditions)
    wide = _wide(layout, as_of, users, standing=standing)
    compiled = {name: _compile(condition, wide, layout, as_of) for name, condition in conditions.items()}
    return wide.select("user_id", *layout.columns, **compiled)


def _wide(layout: Layout, as_of: date, users: ibis.Table | None, *, standing: bool) -> ibis.Table:
    base = relation(tables.users)
    wide = base.select(user_id=base.id, traits=base.traits)
    if users is not None:
        wide = wide.semi_join(users, "user_id")
    segments = relation(tables.segments)
    known = [segments.select("user_id", *dict.fromkeys(field.column for field in layout.fields))]
    known += [*measured(layout, as_of, users, standing=standing), *_history(layout, as_of, users)]
    if layout.tags:
        tags = relation(tables.user_tags)
        held = tags.filter(tags.tag.isin(list(layout.tags)))
        flags = {column: (held.tag == ibis.literal(tag)).any() for tag, column in layout.tags.items()}
        known.append(held.group_by("user_id").aggregate(**flags))
    counted = (*layout.counts.values(), *layout.sums.values(), *layout.messages.values())
    absent = {**dict.fromkeys(counted, 0), **dict.fromkeys(layout.tags.values(), False)}
    wide = _joined(wide, known, absent)
    return _with_progress(wide, layout) if layout.courses else wide


def _joined(wide: ibis.Table, known: Sequence[ibis.Table], absent: Mapping[str, object]) -> ibis.Table:
    """Join by user in one chain: a selection after each join would write every column again, joins times columns.

    `absent` says what stands in a column where a user has nothing; in others it is unknown.
    """
    columns = list(wide.columns)
    for number, table in enumerate(known):
        key = f"user_of_{number}"
        columns += [name for name in table.columns if name != "user_id"]
        wide = wide.left_join(table.rename({key: "user_id"}), [("user_id", key)])
    return wide.select(**{name: _or_else(wide[name], absent.get(name)) for name in columns})


def _or_else(column: ibis.Value, absent: object) -> ibis.Value:
    return column if absent is None else column.fill_null(ibis.literal(absent))


def _history(layout: Layout, as_of: date, users: ibis.Table | None) -> list[ibis.Table]:
    made = [history.followed(leaf, column, as_of, users) for leaf, column in layout.sequences.items()]
    if layout.changes:
        made.append(history.changed(layout.changes, as_of, users))
    if layout.messages:
        made.append(history.messaged(layout.messages, as_of, users))
    if layout.courses:
        made.append(history.lessons_done(layout.courses, as_of, users))
    return made


def _with_progress(wide: ibis.Table, layout: Layout) -> ibis.Table:
    """Make the lessons done percent of those taught, halves rounded up in whole numbers."""
    wide = wide.cross_join(history.lessons_taught(layout.courses))
    percents = {}
    for column in layout.courses.values():
        taught = wide[f"of_{column}"].nullif(0)
        percents[column] = (wide[column].fill_null(0) * 200 + taught) // (taught * 2)
    return wide.mutate(**percents)


def _compile(condition: Condition, wide: ibis.Table, layout: Layout, as_of: date) -> ibis.Value:
    match condition:
        case All(parts):
            return reduce(and_, [_compile(part, wide, layout, as_of) for part in parts])
        case AnyOf(parts):
            return reduce(or_, [_compile(part, wide, layout, as_of) for part in parts])
        case Not(part):
            return ~_compile(part, wide, layout, as_of)
        case EventCount() | EventSum() | MessageCount() | HasTag() | Changed() | Followed():
            # Never unknown.
            return _leaf(condition, wide, layout, as_of)
        case _:
            return _leaf(condition, wide, layout, as_of).fill_null(ibis.literal(value=False))


def _leaf(leaf: Leaf, wide: ibis.Table, layout: Layout, as_of: date) -> ibis.Value:
    match leaf:
        case SegmentIs(name, op, value):
            return _segment(fields.SEGMENT[name], wide, op, value)
        case PredictionIs(target, op, value):
            return _segment(fields.PREDICTED[target], wide, op, value)
        case DaysSince(event, op, value):
            return _COMPARE[_EARLIER[op]](wide[layout.lasts[event]], day(as_of - timedelta(days=value)))
        case TraitIs(name, op, value):
            return _trait(wide.traits[name], op, value)
        case HasTag(tag):
            return wide[layout.tags[tag]]
        case _:
            return _of_the_past(leaf, wide, layout)


def _of_the_past(
    leaf: Changed | EventCount | EventSum | Followed | MessageCount | CourseProgress, wide: ibis.Table, layout: Layout
) -> ibis.Value:
    match leaf:
        case Changed():
            return wide[layout.changes[leaf]].notnull()
        case Followed():
            return wide[layout.sequences[leaf]].notnull()
        case EventCount(event, within_days, op, value):
            return _compared(wide[layout.counts[event, within_days]], op, value, int)
        case EventSum(of, within_days, op, value):
            return _compared(wide[layout.sums[of, within_days]], op, value, _money)
        case MessageCount():
            return _compared(wide[layout.messages[sent(leaf)]], leaf.op, leaf.value, int)
        case CourseProgress(course, op, value):
            return _compared(wide[layout.courses[course]], op, value, int)


def _segment(field: fields.Field, wide: ibis.Table, op: str, value: Value) -> ibis.Value:
    column = wide[field.column]
    match field.kind:
        case "percent":
            return _compared((column * 100 + 0.5).floor().cast("int32"), op, value, int)
        case "integer":
            return _compared(column, op, value, int)
        case "money":
            return _compared(column, op, value, _money)
        case _:
            return _compared(column, op, value, str)


def _money(value: object) -> ibis.Value:
    return ibis.literal(Decimal(str(value)), type="decimal(16, 2)")


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
