"""Tests that hold a budget have the machine to themselves: meanwhile other workers wait before their next test.

Both locks are on files that are there anyhow. The door keeps newcomers from taking the room for ever from whoever waits
for it to be empty.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DOOR, _ROOM = Path(__file__), Path(__file__).with_name("conftest.py")


@contextmanager
def room(*, alone: bool, door: Path = _DOOR, inside: Path = _ROOM) -> Iterator[None]:
    """Be in the room with others, or `alone`; wait until that is possible."""
    with door.open() as at_the_door, inside.open() as within:
        fcntl.flock(at_the_door, fcntl.LOCK_EX)
        fcntl.flock(within, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(at_the_door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(within, fcntl.LOCK_UN)
