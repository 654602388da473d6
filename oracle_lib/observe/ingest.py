"""Events come in here and nowhere else: validate, store once, mark dirty; or keep what was refused, with the reason.

All of it in the caller's transaction: an answer given after its commit is true. A message id is stored once within 48
hours of its first receipt, however often and over however many processes it is sent; the same id with another body
keeps the first. Guarantees G1, G2 and G3: `tests/guarantees/`.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, Protocol, TypeVar, cast

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Invalid
from oracle_lib.observe import message_keys, wire
from oracle_lib.observe.wire import Event, Limits
from oracle_lib.storage import partitions
from oracle_lib.storage.tables import dirty_user_days, rejected_events

RAW_KEPT_BYTES = 64 * 1024
_COPY = "COPY events ({}) FROM STDIN".format(
    "message_id, user_id, event, metadata, source, session_id, created_at, received_at,"
    " amount, seconds, course_id, lesson_id"
)

# Parameters go as one JSON text: dumping arrays value by value took longer than the statement.
_ENSURE_USERS = sa.text(
    "INSERT INTO users (id) SELECT jsonb_array_elements_text(CAST(:ids AS jsonb)) ON CONFLICT DO NOTHING"
)
_MARK = sa.text(
    "INSERT INTO dirty_user_days (user_id, day)"
    " SELECT p ->> 0, CAST(p ->> 1 AS date) FROM jsonb_array_elements(CAST(:pairs AS jsonb)) AS p"
)
_SEALED = Invalid("`timestamp` is on a day whose raw events are gone.", field="timestamp", code="too_old")
_REUSED = Invalid("`messageId` was used for another event; the first is kept.", field="messageId", code="id_reused")


@dataclass(frozen=True)
class Door:
    """Which way events come in. `source` names the sender (an API key's source, an import); `imported` is history.

    `keeps_refused` is off where refused bodies are kept already.
    """

    source: str
    limits: Limits
    imported: bool = False
    keeps_refused: bool = True


@dataclass(frozen=True)
class Rejected:
    """One item that was refused. `index` is its place in the batch."""

    index: int
    code: str
    field: str | None
    detail: str


@dataclass(frozen=True)
class IngestReport:
    """What became of each item: accepted + duplicate + rejected = sent.

    `duplicates` are places in the batch; `days` and `users` are those of the accepted.
    """

    accepted: int = 0
    duplicates: Sequence[int] = ()
    rejected: Sequence[Rejected] = ()
    days: frozenset[date] = frozenset()
    users: frozenset[str] = frozenset()

    @property
    def duplicate(self) -> int:
        """How many had been stored before."""
        return len(self.duplicates)


class Message(Protocol):
    """What can be claimed."""

    @property
    def message_id(self) -> str | None:
        """What makes a repeat recognizable; None where the sender gave nothing."""

    @property
    def body_hash(self) -> bytes:
        """What tells it from another one with the same id."""

    @property
    def day(self) -> date | None:
        """The UTC day whose raw events it adds to; None if it adds none."""


M = TypeVar("M", bound=Message)


class Item(msgspec.Struct, Generic[M], frozen=True):
    """One item of a batch that was read: its place, its body and what it says."""

    index: int
    raw: bytes
    message: M


@dataclass(frozen=True, slots=True)
class Refused:
    """One item of a batch that is not taken, and why."""

    index: int
    raw: bytes
    error: Invalid


def split(body: bytes) -> list[bytes]:
    """Cut a JSON array into its items, so that one bad item does not spoil the others. Raises `Invalid`."""
    try:
        return [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body must be a JSON array of events: {error}.", code="malformed_json") from error


def ingest(conn: Connection, raw: Sequence[bytes], *, door: Door, received_at: datetime) -> IngestReport:
    """Store each event of `raw` (one JSON object each) once; keep the refused ones. Does not commit."""
    items, refused = read_each(raw, lambda body: wire.parse(body, received_at, door.limits))
    fresh, duplicates, turned_away = admit(conn, items, door=door, received_at=received_at)
    refused += turned_away
    store(conn, [item.message for item in fresh], received_at)
    if door.keeps_refused:
        keep_rejected(conn, refused, door.source, received_at)
    return IngestReport(
        accepted=len(fresh),
        duplicates=duplicates,
        rejected=told(refused),
        days=frozenset(item.message.day for item in fresh),
        users=frozenset(item.message.user_id for item in fresh),
    )


def read_each(raw: Sequence[bytes], read: Callable[[bytes], M]) -> tuple[list[Item[M]], list[Refused]]:
    """Read each body by itself; return those that could be read and those that `read` refused."""
    items: list[Item[M]] = []
    refused: list[Refused] = []
    for index, body in enumerate(raw):
        try:
            items.append(Item(index, body, read(body)))
        except Invalid as error:
            refused.append(Refused(index, body, error))
    return items, refused


def admit(
    conn: Connection, items: list[Item[M]], *, door: Door, received_at: datetime
) -> tuple[list[Item[M]], list[int], list[Refused]]:
    """Claim the ids of `items`: return the fresh ones, the places of repeats, and what is turned away.

    That is an item of a day whose raw events are gone, and an id that comes back with another body.
    """
    days = {item.message.day for item in items}
    sealed = partitions.prepare(conn, {day for day in days if day is not None}, received_at.date())
    late = [Refused(item.index, item.raw, _SEALED) for item in items if item.message.day in sealed]
    open_ = [item for item in items if item.message.day not in sealed] if sealed else items
    fresh, duplicates, reused = _claim(conn, open_, door, received_at)
    return fresh, duplicates, late + reused


def told(refused: Iterable[Refused]) -> list[Rejected]:
    """Return refusals as they are answered, in the order of the batch."""
    return [
        Rejected(index=one.index, code=one.error.code, field=one.error.field, detail=str(one.error))
        for one in sorted(refused, key=lambda one: one.index)
    ]


def keep_rejected(conn: Connection, refused: Iterable[Refused], source: str, received_at: datetime) -> None:
    """Keep refused bodies with the reason, so that they can be mended and sent again."""
    rows = [
        {
            "received_at": received_at,
            "source": source,
            "raw": one.raw[:RAW_KEPT_BYTES],
            "reason_code": one.error.code,
            "field": one.error.field,
            "detail": str(one.error).replace("\x00", "\\u0000").encode("utf-8", "replace").decode(),
        }
        for one in refused
    ]
    if rows:
        conn.execute(sa.insert(rejected_events), rows)


def mark_dirty(conn: Connection, pairs: Iterable[tuple[str, date]]) -> None:
    """Ask for (user, day) pairs to be counted again: late events, corrections and erasure all come this way."""
    rows = sorted({(user, day.isoformat()) for user, day in pairs})
    if rows:
        conn.execute(_MARK, {"pairs": msgspec.json.encode(rows).decode()})


def oldest_dirty(conn: Connection) -> datetime | None:
    """Return since when the oldest pair waits; None when nothing does."""
    found: datetime | None = conn.scalar(sa.select(sa.func.min(dirty_user_days.c.noticed_at)))
    return found


def store(conn: Connection, fresh: Sequence[Event], received_at: datetime) -> None:
    """Write events whose ids are claimed, make users of whom nothing was known, and mark their days."""
    if not fresh:
        return
    people = msgspec.json.encode(sorted({event.user_id for event in fresh})).decode()
    conn.execute(_ENSURE_USERS, {"ids": people})
    driver = cast("psycopg.Connection", conn.connection.driver_connection)
    with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        for event in fresh:
            copy.write_row(
                (
                    event.message_id or str(uuid.uuid4()),
                    event.user_id,
                    event.event,
                    event.metadata,
                    event.source,
                    event.session_id,
                    event.created_at,
                    received_at,
                    event.amount,
                    event.seconds,
                    event.course_id,
                    event.lesson_id,
                )
            )
    mark_dirty(conn, ((event.user_id, event.day) for event in fresh))


def _claim(
    conn: Connection, items: list[Item[M]], door: Door, received_at: datetime
) -> tuple[list[Item[M]], list[int], list[Refused]]:
    """Split items into fresh ones, the places of repeats, and ids that came back with another body."""
    named: dict[str, Item[M]] = {}
    ids = ((item.message.message_id, item) for item in items)
    repeats = [item for key, item in ids if key is not None and named.setdefault(key, item) is not item]
    bodies = {key: item.message.body_hash for key, item in named.items()}
    known = message_keys.claim(conn, bodies, received_at=received_at, imported=door.imported)
    if not known and not repeats:
        return items, [], []
    repeats += [named[key] for key in known]
    places = {item.index for item in repeats}
    first = bodies | known
    reused = {item.index for item in repeats if first[item.message.message_id or ""] != item.message.body_hash}
    return (
        [item for item in items if item.index not in places],
        sorted(places - reused),
        [Refused(item.index, item.raw, _REUSED) for item in repeats if item.index in reused],
    )
