"""Events come in here and nowhere else: validate, store once, mark dirty; or keep what was refused, with the reason.

All of it in the caller's transaction: an answer given after its commit is true. A message id is stored once within 48
hours of its first receipt, however often and over however many processes it is sent; the same id with another body
keeps the first. Guarantees G1, G2 and G3: `tests/guarantees/`.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import cast

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.clock import DAY
from oracle_lib.errors import Invalid
from oracle_lib.observe import wire
from oracle_lib.observe.wire import Event, Limits
from oracle_lib.storage import partitions
from oracle_lib.storage.tables import dirty_user_days, event_keys, rejected_events, sealed_days, users

RAW_KEPT_BYTES = 64 * 1024
# Two processes can receive the same id on both sides of midnight: around it an id is claimed in both days.
_MIDNIGHT = timedelta(minutes=10)
_COPY = "COPY events ({}) FROM STDIN".format(
    "message_id, user_id, event, metadata, source, session_id, created_at, received_at,"
    " amount, seconds, course_id, lesson_id"
)


@dataclass(frozen=True)
class Door:
    """Which way events come in. `source` names the sender (an API key's source, an import); `imported` is history."""

    source: str
    limits: Limits
    imported: bool = False


@dataclass(frozen=True)
class Rejected:
    """One item that was refused. `index` is its place in the batch."""

    index: int
    code: str
    field: str | None
    detail: str


@dataclass(frozen=True)
class IngestReport:
    """What became of each item: accepted + duplicate + rejected = sent. `days` and `users` are of the accepted."""

    accepted: int = 0
    duplicate: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    days: frozenset[date] = frozenset()
    users: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Item:
    index: int
    raw: bytes
    event: Event


def split(body: bytes) -> list[bytes]:
    """Cut a JSON array into its items, so that one bad item does not spoil the others. Raises `Invalid`."""
    try:
        return [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body must be a JSON array of events: {error}.", code="malformed_json") from error


def ingest(conn: Connection, raw: Sequence[bytes], *, door: Door, received_at: datetime) -> IngestReport:
    """Store each event of `raw` (one JSON object each) once; keep the refused ones. Does not commit."""
    items, refused = _check_all(raw, door, received_at)
    sealed = _sealed(conn, {item.event.day for item in items})
    for item in [item for item in items if item.event.day in sealed]:
        error = Invalid("`timestamp` is on a day whose raw events are gone.", field="timestamp", code="too_old")
        refused.append((item.index, item.raw, error))
    items = [item for item in items if item.event.day not in sealed]
    fresh, duplicates, reused = _claim(conn, items, door, received_at)
    refused += reused
    _store(conn, [item.event for item in fresh], received_at)
    if refused:
        keep_rejected(conn, [(item_raw, error) for _, item_raw, error in refused], door.source)
    return IngestReport(
        accepted=len(fresh),
        duplicate=duplicates,
        rejected=[
            Rejected(index=index, code=error.code, field=error.field, detail=str(error))
            for index, _, error in sorted(refused, key=lambda one: one[0])
        ],
        days=frozenset(item.event.day for item in fresh),
        users=frozenset(item.event.user_id for item in fresh),
    )


def keep_rejected(conn: Connection, refused: Iterable[tuple[bytes, Invalid]], source: str) -> None:
    """Keep refused bodies with the reason, so that they can be mended and sent again."""
    rows = [
        {
            "source": source,
            "raw": body[:RAW_KEPT_BYTES],
            "reason_code": error.code,
            "field": error.field,
            "detail": str(error).replace("\x00", "\\u0000").encode("utf-8", "replace").decode(),
        }
        for body, error in refused
    ]
    conn.execute(sa.insert(rejected_events), rows)


def mark_dirty(conn: Connection, pairs: Iterable[tuple[str, date]]) -> None:
    """Ask for (user, day) pairs to be counted again: late events, corrections and erasure all come this way."""
    rows = sorted(set(pairs))
    if rows:
        conn.execute(
            sa.text(
                "INSERT INTO dirty_user_days (user_id, day)"
                " SELECT * FROM unnest(CAST(:users AS text[]), CAST(:days AS date[]))"
            ),
            {"users": [user for user, _ in rows], "days": [day for _, day in rows]},
        )


def oldest_dirty(conn: Connection) -> datetime | None:
    """Return since when the oldest pair waits; None when nothing does."""
    found: datetime | None = conn.scalar(sa.select(sa.func.min(dirty_user_days.c.noticed_at)))
    return found


def _check_all(
    raw: Sequence[bytes], door: Door, received_at: datetime
) -> tuple[list[_Item], list[tuple[int, bytes, Invalid]]]:
    items: list[_Item] = []
    refused: list[tuple[int, bytes, Invalid]] = []
    for index, body in enumerate(raw):
        try:
            items.append(_Item(index, body, wire.parse(body, received_at, door.limits)))
        except Invalid as error:
            refused.append((index, body, error))
    return items, refused


def _sealed(conn: Connection, days: set[date]) -> set[date]:
    if not days:
        return set()
    return set(conn.execute(sa.select(sealed_days.c.day).where(sealed_days.c.day.in_(days))).scalars())


def _claim(
    conn: Connection, items: list[_Item], door: Door, received_at: datetime
) -> tuple[list[_Item], int, list[tuple[int, bytes, Invalid]]]:
    """Split items into fresh ones, a count of repeats, and ids that came back with another body."""
    named: dict[str, _Item] = {}
    repeats: list[_Item] = []
    for item in items:
        if item.event.message_id is None:
            continue
        first = named.setdefault(item.event.message_id, item)
        if first is not item:
            repeats.append(item)
    known = _known_keys(conn, named, door, received_at)
    hashes = {key: named[key].event.body_hash for key in named} | known
    fresh = [item for item in items if item.event.message_id is None]
    fresh += [item for key, item in named.items() if key not in known]
    repeats += [item for key, item in named.items() if key in known]
    reused = [
        (
            item.index,
            item.raw,
            Invalid("`messageId` was used for another event; the first is kept.", field="messageId", code="id_reused"),
        )
        for item in repeats
        if hashes[item.event.message_id or ""] != item.event.body_hash
    ]
    fresh.sort(key=lambda item: item.index)
    return fresh, len(repeats) - len(reused), reused


def _known_keys(conn: Connection, named: dict[str, _Item], door: Door, received_at: datetime) -> dict[str, bytes]:
    """Claim the ids of `named`; return those that somebody claimed before, with the hash of their body."""
    if not named:
        return {}
    today = received_at.date()
    partitions.ensure_keys(conn, today)
    ids = sorted(named)
    hashes = [named[key].event.body_hash for key in ids]
    days = [partitions.IMPORTED] if door.imported else sorted({(received_at - _MIDNIGHT).date(), today})
    claim = sa.text(
        "INSERT INTO event_keys (message_id, received_on, body_hash)"
        " SELECT id, CAST(:day AS date), hash"
        " FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS bytea[])) AS named(id, hash)"
        " ORDER BY id ON CONFLICT DO NOTHING RETURNING message_id"
    )
    won: set[str] | None = None
    for day in days:
        claimed = set(conn.execute(claim, {"day": day, "ids": ids, "hashes": hashes}).scalars())
        won = claimed if won is None else won & claimed
    elsewhere = sa.select(event_keys.c.message_id, event_keys.c.body_hash).where(
        event_keys.c.message_id == sa.any_(sa.bindparam("ids", ids, type_=sa.ARRAY(sa.Text))),
        event_keys.c.received_on.in_({today, today - DAY, today - 2 * DAY, *days}),
    )
    # Oldest last, so that the first body is the one a repeat is compared with.
    rows = conn.execute(elsewhere.add_columns(event_keys.c.received_on).order_by(event_keys.c.received_on.desc())).all()
    return {key: hash_ for key, hash_, day in rows if key not in (won or set()) or day not in days}


def _store(conn: Connection, fresh: list[Event], received_at: datetime) -> None:
    if not fresh:
        return
    partitions.ensure_days(conn, {event.day for event in fresh}, received_at.date())
    _ensure_users(conn, {event.user_id for event in fresh})
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


def _ensure_users(conn: Connection, user_ids: set[str]) -> None:
    """Make a profile for every user that has none yet."""
    ids = sa.bindparam("ids", list(user_ids), type_=sa.ARRAY(sa.Text))
    missing = sorted(user_ids - set(conn.execute(sa.select(users.c.id).where(users.c.id == sa.any_(ids))).scalars()))
    if missing:
        conn.execute(insert(users).on_conflict_do_nothing(), [{"id": user_id} for user_id in missing])
