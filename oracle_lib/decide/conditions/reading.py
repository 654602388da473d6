"""Trees read from JSON: how they are nested, and the specification's flat form."""

from collections.abc import Mapping

from oracle_lib.decide import fields
from oracle_lib.decide.conditions.leaf_reading import leaf
from oracle_lib.decide.conditions.tree import All, AnyOf, Condition, Not
from oracle_lib.decide.conditions.values import only, wrong

MAX_DEPTH = 10
MAX_NODES = 100

_FLAT = ("event", "days_since", "within_days", "count")


def parse(body: object, *, place: str = "conditions") -> Condition:
    """Read a tree, or the specification's flat form (`{"event": "lesson_complete", "days_since": 3}`).

    Raises `Invalid` whose `field` is the place that is wrong.
    """
    if isinstance(body, Mapping) and _is_flat(body):
        body = _unfolded(body, place)
    return _Reader().node(body, place, 1)


def _is_flat(body: Mapping[str, object]) -> bool:
    names = set(body)
    known = names <= {*_FLAT, *fields.SEGMENT}
    if names == {"progress"} and _names_a_course(body["progress"]):
        return False
    return known and bool(names & fields.SEGMENT.keys() or ("event" in names and "days_since" in names))


def _names_a_course(asked: object) -> bool:
    """Tell the leaf `progress` from the segment's field of that name, which is of the user's newest course."""
    return isinstance(asked, Mapping) and "course" in asked


def _unfolded(body: Mapping[str, object], place: str) -> dict[str, object]:
    parts: list[object] = []
    if "event" in body and "days_since" in body:
        parts.append({"days_since": {"event": body["event"], "op": ">=", "value": body["days_since"]}})
        if {"within_days", "count"} & body.keys():
            raise wrong(f"{place}.days_since", "stands without `within_days` and `count`; write a tree instead")
    elif {"event", "days_since", "within_days", "count"} & body.keys():
        parts.append({name: body[name] for name in _FLAT if name in body})
    for name in body.keys() & fields.SEGMENT.keys():
        asked = body[name]
        compared = asked if isinstance(asked, Mapping) else {"op": "=", "value": asked}
        parts.append({name: asked} if _names_a_course(asked) else {"segment": name, **compared})
    return {"all": parts}


class _Reader:
    """Reads one tree and counts its nodes."""

    def __init__(self) -> None:
        self.nodes = 0

    def node(self, body: object, place: str, depth: int) -> Condition:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise wrong(place, f"is nested deeper than {MAX_DEPTH}")
        if self.nodes > MAX_NODES:
            raise wrong(place, f"is one condition too many; at most {MAX_NODES} in a rule")
        if not isinstance(body, Mapping):
            raise wrong(place, "must be an object")
        match body:
            case {"all": parts}:
                only(body, place, "all")
                return All(self._parts(parts, f"{place}.all", depth))
            case {"any": parts}:
                only(body, place, "any")
                return AnyOf(self._parts(parts, f"{place}.any", depth))
            case {"not": part}:
                only(body, place, "not")
                return Not(self.node(part, f"{place}.not", depth + 1))
        return leaf(body, place)

    def _parts(self, parts: object, place: str, depth: int) -> tuple[Condition, ...]:
        if not isinstance(parts, list) or not parts:
            raise wrong(place, "must be a list of at least one condition")
        return tuple(self.node(part, f"{place}[{index}]", depth + 1) for index, part in enumerate(parts))
