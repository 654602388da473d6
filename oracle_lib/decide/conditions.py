"""The condition tree of rules and audiences: read from JSON, checked, and written back.

A tree is `{"all": [..]}`, `{"any": [..]}` or `{"not": ..}` over leaves:

    {"segment": "churnRisk", "op": ">=", "value": 60}
    {"event": "lesson_complete", "within_days": 7, "count": {"op": ">=", "value": 3}}
    {"days_since": {"event": "login", "op": ">", "value": 3}}      event `activity`: the user's own last act of any kind
    {"trait": "plan", "op": "=", "value": "pro"}
    {"tag": "vip"}

A comparison with something unknown is false, also `!=`; `"value": null` with `=` or `!=` asks whether it is unknown.
Probabilities compare as the integers 0-100 people see. Every refusal names the place, such as `conditions.all[1].op`.
`matching.py` compiles a tree to one expression.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from oracle_lib.decide import fields
from oracle_lib.errors import Invalid
from oracle_lib.observe import catalogue

MAX_DEPTH = 10
MAX_NODES = 100
MAX_DAYS = 3650
MAX_ITEMS = 100
MAX_TEXT = 200
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in")
ACTIVITY = "activity"

Value: TypeAlias = str | int | float | bool | tuple[str | int | float, ...] | None

_COUNTING = ("=", "!=", "<", "<=", ">", ">=")
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")
_TRAIT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_FLAT = ("event", "days_since", "within_days", "count")


@dataclass(frozen=True)
class SegmentIs:
    """A field of the user's segment, by its name on the wire, compared with a value."""

    field: str
    op: str
    value: Value


@dataclass(frozen=True)
class EventCount:
    """How often an event happened in a window of days up to today; `within_days` None counts all of history."""

    event: str
    within_days: int | None
    op: str
    value: int


@dataclass(frozen=True)
class DaysSince:
    """Whole days since an event last happened. Unknown, so false, where it never did."""

    event: str
    op: str
    value: int


@dataclass(frozen=True)
class TraitIs:
    """A trait of the profile compared with a value of the same kind; of another kind it counts as unknown."""

    name: str
    op: str
    value: Value


@dataclass(frozen=True)
class HasTag:
    """The user carries a tag."""

    tag: str


@dataclass(frozen=True)
class All:
    """Every part holds."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: "Condition"


Leaf: TypeAlias = SegmentIs | EventCount | DaysSince | TraitIs | HasTag
Condition: TypeAlias = All | AnyOf | Not | Leaf


def parse(body: object, *, place: str = "conditions") -> Condition:
    """Read a tree, or the specification's flat form (`{"event": "lesson_complete", "days_since": 3}`).

    Raises `Invalid` whose `field` is the place that is wrong.
    """
    if isinstance(body, Mapping) and _is_flat(body):
        body = _unfolded(body, place)
    return _Reader().node(body, place, 1)


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
            return _leaf_wire(condition)


def _leaf_wire(leaf: Leaf) -> dict[str, object]:
    match leaf:
        case SegmentIs(field, op, value):
            return {"segment": field, "op": op, "value": _listed(value)}
        case EventCount(event, within_days, op, value):
            window = {} if within_days is None else {"within_days": within_days}
            return {"event": event, **window, "count": {"op": op, "value": value}}
        case DaysSince(event, op, value):
            return {"days_since": {"event": event, "op": op, "value": value}}
        case TraitIs(name, op, value):
            return {"trait": name, "op": op, "value": _listed(value)}
        case HasTag(tag):
            return {"tag": tag}


def leaves(condition: Condition, *, asserted: bool = False) -> Iterator[Leaf]:
    """Yield the leaves in the order they are written; `asserted` leaves out those under a `not`."""
    match condition:
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part, asserted=asserted)
        case Not(part):
            if not asserted:
                yield from leaves(part)
        case _:
            yield condition


def _is_flat(body: Mapping[str, object]) -> bool:
    names = set(body)
    known = names <= {*_FLAT, *fields.SEGMENT}
    return known and bool(names & fields.SEGMENT.keys() or ("event" in names and "days_since" in names))


def _unfolded(body: Mapping[str, object], place: str) -> dict[str, object]:
    parts: list[object] = []
    if "event" in body and "days_since" in body:
        parts.append({"days_since": {"event": body["event"], "op": ">=", "value": body["days_since"]}})
        if {"within_days", "count"} & body.keys():
            raise _wrong(f"{place}.days_since", "stands without `within_days` and `count`; write a tree instead")
    elif {"event", "days_since", "within_days", "count"} & body.keys():
        parts.append({name: body[name] for name in _FLAT if name in body})
    for name in body.keys() & fields.SEGMENT.keys():
        asked = body[name]
        compared = asked if isinstance(asked, Mapping) else {"op": "=", "value": asked}
        parts.append({"segment": name, **compared})
    return {"all": parts}


class _Reader:
    """Reads one tree and counts its nodes."""

    def __init__(self) -> None:
        self.nodes = 0

    def node(self, body: object, place: str, depth: int) -> Condition:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise _wrong(place, f"is nested deeper than {MAX_DEPTH}")
        if self.nodes > MAX_NODES:
            raise _wrong(place, f"is one condition too many; at most {MAX_NODES} in a rule")
        if not isinstance(body, Mapping):
            raise _wrong(place, "must be an object")
        match body:
            case {"all": parts}:
                _only(body, place, "all")
                return All(self._parts(parts, f"{place}.all", depth))
            case {"any": parts}:
                _only(body, place, "any")
                return AnyOf(self._parts(parts, f"{place}.any", depth))
            case {"not": part}:
                _only(body, place, "not")
                return Not(self.node(part, f"{place}.not", depth + 1))
        return _leaf(body, place)

    def _parts(self, parts: object, place: str, depth: int) -> tuple[Condition, ...]:
        if not isinstance(parts, list) or not parts:
            raise _wrong(place, "must be a list of at least one condition")
        return tuple(self.node(part, f"{place}[{index}]", depth + 1) for index, part in enumerate(parts))


def _leaf(body: Mapping[str, object], place: str) -> Leaf:
    match body:
        case {"segment": field}:
            _only(body, place, "segment", "op", "value")
            return _segment(field, body, place)
        case {"event": event}:
            _only(body, place, "event", "within_days", "count")
            return _event_count(event, body, place)
        case {"days_since": asked}:
            _only(body, place, "days_since")
            return _days_since(asked, f"{place}.days_since")
        case {"trait": name}:
            _only(body, place, "trait", "op", "value")
            return _trait(name, body, place)
        case {"tag": tag}:
            _only(body, place, "tag")
            return HasTag(_text(tag, f"{place}.tag"))
    raise _wrong(place, "must hold one of `all`, `any`, `not`, `segment`, `event`, `days_since`, `trait`, `tag`")


def _segment(field: object, body: Mapping[str, object], place: str) -> SegmentIs:
    known = fields.SEGMENT.get(field) if isinstance(field, str) else None
    if known is None:
        raise _wrong(f"{place}.segment", f"must be one of {', '.join(sorted(fields.SEGMENT))}")
    op = _operator(body, place, OPERATORS if known.numeric else ("=", "!=", "in"))
    value = _value(body, op, place)
    for one in value if isinstance(value, tuple) else (value,):
        if problem := known.problem(one):
            raise _wrong(f"{place}.value", problem)
    return SegmentIs(known.name, op, value)


def _event_count(event: object, body: Mapping[str, object], place: str) -> EventCount:
    name = _event_name(event, f"{place}.event")
    within = body.get("within_days")
    days = None if within is None else _whole(within, f"{place}.within_days", 1, MAX_DAYS)
    asked = body.get("count", 1)
    if not isinstance(asked, Mapping):
        return EventCount(name, days, ">=", _whole(asked, f"{place}.count", 0, 1_000_000))
    _only(asked, f"{place}.count", "op", "value")
    op = _operator(asked, f"{place}.count", _COUNTING)
    return EventCount(name, days, op, _whole(asked.get("value"), f"{place}.count.value", 0, 1_000_000))


def _days_since(asked: object, place: str) -> DaysSince:
    if not isinstance(asked, Mapping):
        raise _wrong(place, 'must be an object such as {"event": "login", "op": ">", "value": 3}')
    _only(asked, place, "event", "op", "value")
    event = _event_name(asked.get("event"), f"{place}.event")
    return DaysSince(
        event, _operator(asked, place, _COUNTING), _whole(asked.get("value"), f"{place}.value", 0, MAX_DAYS)
    )


def _trait(name: object, body: Mapping[str, object], place: str) -> TraitIs:
    if not isinstance(name, str) or not _TRAIT.fullmatch(name):
        raise _wrong(f"{place}.trait", "must be the name of a trait: letters, digits, `_` and `-`, at most 100")
    op = _operator(body, place, OPERATORS)
    value = _value(body, op, place)
    if op in {"<", "<=", ">", ">="} and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise _wrong(f"{place}.value", f"must be a number for `{op}`")
    if isinstance(value, tuple) and len({isinstance(one, str) for one in value}) > 1:
        raise _wrong(f"{place}.value", "must hold texts or numbers, not both")
    return TraitIs(name, op, value)


def _operator(body: Mapping[str, object], place: str, allowed: tuple[str, ...]) -> str:
    op = body.get("op")
    op = "=" if op == "==" else op
    if not isinstance(op, str) or op not in allowed:
        raise _wrong(f"{place}.op", f"must be one of {' '.join(allowed)}")
    return op


def _value(body: Mapping[str, object], op: str, place: str) -> Value:
    if "value" not in body:
        raise _wrong(f"{place}.value", "is missing")
    value = body["value"]
    if op == "in":
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_ITEMS:
            raise _wrong(f"{place}.value", f"must be a list of 1 to {MAX_ITEMS} values for `in`")
        items = tuple(_scalar(one, f"{place}.value[{index}]") for index, one in enumerate(value))
        return tuple(one for one in items if one is not None and not isinstance(one, bool))
    scalar = _scalar(value, f"{place}.value") if value is not None else None
    if scalar is None and op not in {"=", "!="}:
        raise _wrong(f"{place}.value", "may be null only with = and !=")
    return scalar


def _scalar(value: object, place: str) -> str | int | float | bool | None:
    match value:
        case bool():
            if place.endswith("]"):
                raise _wrong(place, "must be a text or a number")
            return value
        case int() | float():
            if not math.isfinite(value) or abs(value) > 1e12:
                raise _wrong(place, "must be a finite number of at most 12 digits")
            return value
        case str():
            return _text(value, place)
    raise _wrong(place, "must be a text, a number or true/false")


def _text(value: object, place: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
        raise _wrong(place, f"must be a text of 1 to {MAX_TEXT} characters")
    if _FORBIDDEN.search(value):
        raise _wrong(place, "holds a NUL or half a surrogate pair")
    return value


def _event_name(value: object, place: str) -> str:
    if not isinstance(value, str) or not catalogue.is_valid_name(value):
        raise _wrong(place, "must be the snake_case name of an event")
    return value


def _whole(value: object, place: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(place, f"must be a whole number from {low} to {high}")
    return value


def _only(body: Mapping[str, object], place: str, *names: str) -> None:
    for name in body:
        if name not in names:
            raise _wrong(f"{place}.{name}", f"is not known here; known are {', '.join(names)}")


def _listed(value: Value) -> object:
    return list(value) if isinstance(value, tuple) else value


def _wrong(place: str, problem: str) -> Invalid:
    return Invalid(f"`{place}` {problem}.", field=place, code="bad_condition")
