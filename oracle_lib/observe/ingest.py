"""Events come in here and nowhere else: validate, store once, mark dirty; or keep what was refused, with the reason.

All of it in the caller's transaction: an answer given after its commit is true. A message id is stored once within 48
hours of its first receipt, however often and over however many processes it is sent; the same id with another body
keeps the first. Guarantees G1, G2 and G3: `tests/guarantees/`.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import cast

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Invalid
from oracle_lib.observe import batch, message_keys, tail, wire
from oracle_lib.observe.batch import Batch, Door, IngestReport, Item, M, Refused, Rejected
from oracle_lib.observe.tail import Shown
from oracle_lib.observe.wire import Event
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
    "INSERT INTO dirty_user_days (user_id, day) SELECT u, CAST(d.key AS date)"
    " FROM jsonb_each(CAST(:users_by_day AS jsonb)) AS d, jsonb_array_elements_text(d.value) AS u"
)
_SEALED = Invalid("`timestamp` is on a day whose raw events are gone.", field="timestamp", code="too_old")
_REUSED = Invalid("`messageId` was used for another event; the first is kept.", field="messageId", code="id_reused")


def ingest(conn: Connection, raw: Sequence[bytes], *, door: Door, received_at: datetime) -> IngestReport:
    """Store each event of `raw` (one JSON object each) once; keep the refused ones. Does not commit."""
    taken = batch.read(raw, lambda body: wire.parse(body, received_at, door.limits), door.plan)
    fresh, duplicates, turned_away = admit(conn, taken.items, door=door, received_at=received_at)
    events = [item.message for item in fresh]
    store(conn, events, received_at)
    refused = taken.refused + turned_away
    if door.keeps_refused:
        keep_rejected(conn, refused, door.source, received_at)
    return report(conn, taken, events, duplicates, refused, door=door, received_at=received_at)


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


def report(
    conn: Connection,
    taken: Batch[M],
    events: Sequence[Event],
    duplicates: list[int],
    refused: list[Refused],
    *,
    door: Door,
    received_at: datetime,
) -> IngestReport:
    """Say what became of each item of a batch: to its sender, and to those who watch its door."""
    refused = sorted(refused, key=lambda one: one.index)
    out = {one.index for one in refused}
    if door.tails:
        tail.show(conn, door.tails, _shown(taken, set(duplicates), refused, door.source, received_at))
    return IngestReport(
        accepted=sum(item.index not in out for item in taken.items) - len(duplicates),
        duplicates=duplicates,
        rejected=[Rejected(one.index, one.error.code, one.error.field, str(one.error)) for one in refused],
        warnings=[one for one in taken.warnings if one.index not in out],
        days=frozenset(event.day for event in events),
        users=frozenset(event.user_id for event in events),
    )


def _shown(
    taken: Batch[M], duplicates: set[int], refused: Sequence[Refused], source: str, received_at: datetime
) -> list[Shown]:
    """Return what a tail shows of each item, in the order of the batch."""
    read = {item.index: item.message for item in taken.items}
    bodies = {item.index: item.raw for item in taken.items} | {one.index: one.raw for one in refused}
    errors = {one.index: one.error for one in refused}
    warned = {one.index: one for one in taken.warnings}
    shown = []
    for index, raw in sorted(bodies.items()):
        message, error, warning = read.get(index), errors.get(index), warned.get(index)
        event = message.happened if message else None
        against = error or warning
        shown.append(
            Shown(
                outcome="rejected" if error else "duplicate" if index in duplicates else "accepted",
                received_at=received_at,
                source=source,
                message_id=message.message_id if message else None,
                user_id=message.user_id if message else None,
                event=event.event if event else None,
                reason=error.code if error else "off_plan" if warning else None,
                field=_storable(against.field) if against and against.field else None,
                detail=_storable(str(error)) if error else warning.detail if warning else None,
                body=tail.shown_body(raw),
            )
        )
    return shown


def keep_rejected(
    conn: Connection,
    refused: Iterable[Refused],
    source: str,
    received_at: datetime,
    envelope: bytes | None = None,
) -> None:
    """Keep refused bodies with the reason, so that they can be mended and sent again.

    `envelope` is what a Segment request said beside its messages; None for events in our own form.
    """
    rows = [
        {
            "received_at": received_at,
            "source": source,
            "raw": one.raw[:RAW_KEPT_BYTES],
            "envelope": envelope,
            "reason_code": one.error.code,
            "field": one.error.field and _storable(one.error.field),
            "detail": _storable(str(one.error)),
        }
        for one in refused
    ]
    if rows:
        conn.execute(sa.insert(rejected_events), rows)


def refuse(conn: Connection, body: bytes, error: Invalid, *, door: Door, received_at: datetime) -> IngestReport:
    """Keep a body that could not be cut into items."""
    refused = [Refused(0, body, error)]
    keep_rejected(conn, refused, door.source, received_at)
    nothing: Batch[Event] = Batch([], refused, [])
    return report(conn, nothing, [], [], refused, door=door, received_at=received_at)


def _storable(text: str) -> str:
    """Return what PostgreSQL can hold of a text that names what a sender wrote."""
    return text.replace("\x00", "\\u0000").encode("utf-8", "replace").decode()


def mark_dirty(conn: Connection, pairs: Iterable[tuple[str, date]]) -> None:
    """Ask for (user, day) pairs to be counted again: late events, corrections and erasure all come this way."""
    users_by_day: dict[date, set[str]] = {}
    for user, day in pairs:
        users_by_day.setdefault(day, set()).add(user)
    if users_by_day:
        conn.execute(_MARK, {"users_by_day": msgspec.json.encode(users_by_day).decode()})


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
    received = received_at.isoformat()  # once, not for each row
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
                    received,
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
