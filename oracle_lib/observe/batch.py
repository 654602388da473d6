"""The items of a request on their way in: each read by itself, so that one bad item does not spoil the others.

Nothing here touches the database. Events in our own form and Segment's messages take the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Generic, Protocol, TypeVar

import msgspec

from oracle_lib.errors import Invalid
from oracle_lib.observe.tracking_plan import NO_PLAN, Plan
from oracle_lib.observe.wire import Event, Limits


@dataclass(frozen=True)
class Door:
    """Which way events come in. `source` names the sender (an API key's source, an import); `imported` is history.

    `keeps_refused` is off where refused bodies are kept already. `tails` are the ids of those who watch this door.
    """

    source: str
    limits: Limits
    imported: bool = False
    keeps_refused: bool = True
    plan: Plan = NO_PLAN
    tails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """One item that was refused. `index` is its place in the batch."""

    index: int
    code: str
    field: str | None
    detail: str


@dataclass(frozen=True)
class Warned:
    """One item that was taken although the tracking plan has something against it."""

    index: int
    field: str
    detail: str


@dataclass(frozen=True)
class IngestReport:
    """What became of each item: accepted + duplicate + rejected = sent.

    `duplicates` are places in the batch, `warnings` are about items that were not rejected; `days` and `users` are
    those of the accepted.
    """

    accepted: int = 0
    duplicates: Sequence[int] = ()
    rejected: Sequence[Rejected] = ()
    warnings: Sequence[Warned] = ()
    days: frozenset[date] = frozenset()
    users: frozenset[str] = frozenset()

    @property
    def duplicate(self) -> int:
        """How many had been stored before."""
        return len(self.duplicates)


class Message(Protocol):
    """What can be taken in once."""

    @property
    def message_id(self) -> str | None:
        """What makes a repeat recognizable; None where the sender gave nothing."""

    @property
    def body_hash(self) -> bytes:
        """What tells it from another one with the same id."""

    @property
    def user_id(self) -> str:
        """Whose it is."""

    @property
    def happened(self) -> Event | None:
        """The event it tells of; None if it tells of none."""

    @property
    def day(self) -> date | None:
        """The UTC day whose raw events it adds to; None if it adds none."""


M = TypeVar("M", bound=Message)


class Item(msgspec.Struct, Generic[M], frozen=True):
    """One item that was read: its place, its body and what it says."""

    index: int
    raw: bytes
    message: M


@dataclass(frozen=True, slots=True)
class Refused:
    """One item that is not taken, and why."""

    index: int
    raw: bytes
    error: Invalid


@dataclass(frozen=True)
class Batch(Generic[M]):
    """What was read of a request: the items that may come in, those refused so far, and what the plan warns of."""

    items: list[Item[M]]
    refused: list[Refused]
    warnings: list[Warned]


def split(body: bytes) -> list[bytes]:
    """Cut a JSON array into its items. Raises `Invalid`."""
    try:
        return [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body must be a JSON array of events: {error}.", code="malformed_json") from error


def read(raw: Sequence[bytes], parse: Callable[[bytes], M], plan: Plan) -> Batch[M]:
    """Read each body by itself and hold it against the tracking plan."""
    batch: Batch[M] = Batch([], [], [])
    for index, body in enumerate(raw):
        try:
            message = parse(body)
            if plan.validators and message.happened is not None:
                found = plan.warnings(message.happened)
                batch.warnings.extend(Warned(index, one.field, one.detail) for one in found)
            batch.items.append(Item(index, body, message))
        except Invalid as error:
            batch.refused.append(Refused(index, body, error))
    return batch
