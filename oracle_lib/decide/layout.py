"""Where the wide row that rules are matched on keeps what they mention: a column for each thing, read once for all."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

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
    field_of,
    leaves,
)

Window = tuple[str, int | None]
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Sent:
    """Messages to count: what became of them, on which channel, by which template, sent in which window."""

    what: str
    channel: str | None
    template: str | None
    within_days: int | None


@dataclass(frozen=True)
class Layout:
    """The columns. Counts, sums and messages are 0 where there is nothing, tags false, everything else unknown.

    `changes` and `sequences` hold the last day on which it was so.
    """

    counts: dict[Window, str]
    sums: dict[Window, str]
    lasts: dict[str, str]
    changes: dict[Changed, str]
    sequences: dict[Followed, str]
    messages: dict[Sent, str]
    courses: dict[str, str]
    tags: dict[str, str]
    fields: tuple[fields.Field, ...]

    @classmethod
    def of(cls, conditions: Mapping[str, Condition]) -> "Layout":
        """Collect what all conditions mention."""
        found = [leaf for condition in conditions.values() for leaf in leaves(condition)]
        asked = {field for leaf in found if (field := _compared(leaf))}
        return cls(
            counts=_named("count", ((leaf.event, leaf.within_days) for leaf in found if isinstance(leaf, EventCount))),
            sums=_named("sum", ((leaf.of, leaf.within_days) for leaf in found if isinstance(leaf, EventSum))),
            lasts=_named("last", (leaf.event for leaf in found if isinstance(leaf, DaysSince))),
            changes=_named("change", (leaf for leaf in found if isinstance(leaf, Changed))),
            sequences=_named("sequence", (leaf for leaf in found if isinstance(leaf, Followed))),
            messages=_named("message", (sent(leaf) for leaf in found if isinstance(leaf, MessageCount))),
            courses=_named("course", (leaf.course for leaf in found if isinstance(leaf, CourseProgress))),
            tags=_named("tag", (leaf.tag for leaf in found if isinstance(leaf, HasTag))),
            fields=tuple(sorted(asked, key=lambda field: field.name)),
        )

    @property
    def columns(self) -> list[str]:
        """The columns that hold what was compared."""
        named = (self.counts, self.sums, self.lasts, self.changes, self.sequences, self.messages, self.courses)
        made = [column for group in (*named, self.tags) for column in group.values()]
        return [*made, *dict.fromkeys(field.column for field in self.fields)]


def sent(leaf: MessageCount) -> Sent:
    """Return which messages a leaf counts."""
    return Sent(leaf.what, leaf.channel, leaf.template, leaf.within_days)


def _compared(leaf: Leaf) -> fields.Field | None:
    """Return the field that stands in the wide row for a leaf."""
    return None if isinstance(leaf, Changed) else field_of(leaf)


def _named(kind: str, keys: Iterable[_Key]) -> dict[_Key, str]:
    return {key: f"{kind}_{number}" for number, key in enumerate(dict.fromkeys(keys))}
