"""What a condition can say: the kinds of leaves, and how they are put together. A window of n days ends with today."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from oracle_lib.decide import fields
from oracle_lib.observe import catalogue

Value: TypeAlias = str | int | float | bool | tuple[str | int | float, ...] | None

# An event name of `days_since`: whatever the user did last.
ACTIVITY = "activity"
# What a user's days add up, and the events that bring it.
SUMMED: dict[str, tuple[str, ...]] = {
    "revenue": ("purchase", "upgrade"),
    "refunds": ("refund",),
    "seconds": catalogue.TIMED,
}
# What may have become of a message, and the channels that reach the user (posts and alerts address others).
MESSAGES = ("sent", "opened", "not_opened", "clicked")
CHANNELS = ("email", "dm", "push")


@dataclass(frozen=True)
class SegmentIs:
    """A field of the user's segment, by its name on the wire, compared with a value."""

    field: str
    op: str
    value: Value


@dataclass(frozen=True)
class Changed:
    """A field of the segment changed within so many days: from `before`, to `after`, by steps of its ladder.

    None is any word, for `before` also none at all: a first word is a change too. `steps` n > 0: it rose by n or more
    in one change, n < 0: it fell, 0: either way.
    """

    field: str
    within_days: int
    before: str | None = None
    after: str | None = None
    steps: int = 0


@dataclass(frozen=True)
class EventCount:
    """How often an event happened in a window of days up to today; `within_days` None counts all of history."""

    event: str
    within_days: int | None
    op: str
    value: int


@dataclass(frozen=True)
class EventSum:
    """What the days of a window add up to: `of` is one of `SUMMED`, money in the account's currency or seconds."""

    of: str
    within_days: int | None
    op: str
    value: int | float


@dataclass(frozen=True)
class DaysSince:
    """Whole days since an event last happened. Unknown, so false, where it never did."""

    event: str
    op: str
    value: int


@dataclass(frozen=True)
class Followed:
    """`first` happened on one of the last `in_last_days` days, and `then` followed within `within_days` (or did not).

    By UTC day: the day of `first` is day one, and what happened on that day counts as having followed. That it did not
    follow holds once the days are over.
    """

    first: str
    then: str
    follows: bool
    within_days: int
    in_last_days: int


@dataclass(frozen=True)
class MessageCount:
    """How many of the messages sent to the user in a window became `what`; `channel` or `template` None: of any."""

    what: str
    channel: str | None
    template: str | None
    within_days: int | None
    op: str
    value: int


@dataclass(frozen=True)
class PredictionIs:
    """How likely a target is for the user, as an integer 0-100, compared with a value."""

    target: str
    op: str
    value: Value


@dataclass(frozen=True)
class CourseProgress:
    """Percent of a course's lessons completed, 0-100. Unknown, so false, without the course's lessons."""

    course: str
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


Leaf: TypeAlias = (
    SegmentIs
    | Changed
    | EventCount
    | EventSum
    | DaysSince
    | Followed
    | MessageCount
    | PredictionIs
    | CourseProgress
    | TraitIs
    | HasTag
)
Condition: TypeAlias = All | AnyOf | Not | Leaf


def field_of(leaf: Leaf) -> fields.Field | None:
    """Return the field of the segment that a leaf is about, if it is about one."""
    match leaf:
        case SegmentIs(name) | Changed(name):
            return fields.SEGMENT[name]
        case PredictionIs(target):
            return fields.PREDICTED[target]
        case _:
            return None


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


def nodes(condition: Condition, place: str = "conditions") -> list[tuple[str, Condition]]:
    """Return every part of a tree with its place, such as `conditions.all[1]`; a whole before its parts."""
    match condition:
        case All(parts):
            below = [(f"{place}.all[{number}]", part) for number, part in enumerate(parts)]
        case AnyOf(parts):
            below = [(f"{place}.any[{number}]", part) for number, part in enumerate(parts)]
        case Not(part):
            below = [(f"{place}.not", part)]
        case _:
            below = []
    return [(place, condition), *(found for there, part in below for found in nodes(part, there))]
