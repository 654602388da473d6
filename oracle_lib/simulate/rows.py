"""Simulated events as columns: numbers only, turned into JSON when they are asked for."""

from dataclasses import dataclass, fields

import numpy as np

from oracle_lib.observe.catalogue import KINDS, STYLES

NAMES = (*KINDS, *STYLES)
_PLACE = {name: place for place, name in enumerate(NAMES)}
NONE = -1


@dataclass(frozen=True)
class Rows:
    """Event columns of one length. `at` is seconds from the academy's first day; -1 means the event has none of that.

    `user` is the place among all users, `kind` a place in `NAMES`, `course` in `campus.COURSES`, `lesson` the place in
    the course, `seconds` the time spent, `session` a number, `letter` the day of the weekly letter.
    """

    at: np.ndarray
    user: np.ndarray
    kind: np.ndarray
    course: np.ndarray
    lesson: np.ndarray
    seconds: np.ndarray
    cents: np.ndarray
    session: np.ndarray
    letter: np.ndarray

    def __len__(self) -> int:
        return len(self.at)

    def take(self, which: np.ndarray | slice) -> "Rows":
        """Return the rows at these places, or where a mask is true."""
        return Rows(**{one.name: getattr(self, one.name)[which] for one in fields(self)})


_TYPES = {
    "at": np.int64,
    "user": np.int32,
    "kind": np.int8,
    "course": np.int8,
    "lesson": np.int16,
    "seconds": np.int32,
    "cents": np.int32,
    "session": np.int32,
    "letter": np.int16,
}


def rows(kind: str, user: np.ndarray, at: np.ndarray, **known: np.ndarray | int) -> Rows:
    """Return events of one kind; columns that are not named hold none."""
    columns: dict[str, np.ndarray | int] = {"user": user, "at": at, "kind": _PLACE[kind], **known}
    return Rows(
        **{
            name: np.broadcast_to(np.asarray(columns.get(name, NONE)), user.shape).astype(type_)
            for name, type_ in _TYPES.items()
        }
    )


def joint(parts: list[Rows]) -> Rows:
    """Put parts together, in order of time; equal times keep the order of the parts."""
    whole = Rows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _TYPES})
    return whole.take(np.argsort(whole.at, kind="stable"))


def within(group: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Return what stands before each element in its group: an exclusive running sum over sorted `group`."""
    running = np.cumsum(amount) - amount
    heads = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else np.array([], dtype=np.int64)
    sizes = np.diff(np.r_[heads, len(group)])
    return running - np.repeat(running[heads], sizes)
