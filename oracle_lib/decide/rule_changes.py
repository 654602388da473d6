"""What differs between two texts of a rule, place by place: `conditions.all[1].value` from 3 to 5.

Pure: two JSON objects go in. What is put into a list or taken out of it moves the other items and does not change them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

# Comparing item by item is quadratic; no list of a rule that can be published is as long.
_LONGEST = 200


@dataclass(frozen=True)
class Change:
    """One place and what stands there; None where nothing does. Of a list's item the place is the new one, if any."""

    field: str
    old: object
    new: object


def changes(old: Mapping[str, object], new: Mapping[str, object]) -> list[Change]:
    """Return every place at which `new` says something else than `old`, in the order of `old`."""
    return list(_between("", old, new))


def _between(place: str, old: object, new: object) -> Iterator[Change]:
    if old == new:
        return
    match old, new:
        case Mapping(), Mapping() if old.keys() & new.keys():
            for name in dict.fromkeys([*old, *new]):
                yield from _between(f"{place}.{name}" if place else name, old.get(name), new.get(name))
        case list(), list() if _are_objects(old) and _are_objects(new):
            yield from _between_items(place, old, new)
        case _:
            yield Change(place, old, new)


def _between_items(place: str, old: Sequence[object], new: Sequence[object]) -> Iterator[Change]:
    kept = SequenceMatcher(None, _texts(old), _texts(new), autojunk=False)
    for verb, gone, gone_end, come, come_end in kept.get_opcodes():
        if verb == "equal":
            continue
        for offset, (was, is_now) in enumerate(zip_longest(old[gone:gone_end], new[come:come_end])):
            index = (gone if is_now is None else come) + offset
            yield from _between(f"{place}[{index}]", was, is_now)


def _texts(items: Sequence[object]) -> list[str]:
    return [json.dumps(item, sort_keys=True) for item in items]


def _are_objects(items: Sequence[object]) -> bool:
    return len(items) <= _LONGEST and all(isinstance(item, Mapping) for item in items)
