"""Events that were refused: read back with their reasons, and sent in again once what was wrong is mended.

A replayed event keeps its message id, or gets one of its row, and the time at which it was first received, so replaying
twice adds it once. What is still refused stays as it is. Guarantee G2.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Invalid
from oracle_lib.observe import wire
from oracle_lib.observe.ingest import Door, ingest
from oracle_lib.storage.tables import rejected_events

MAX_LIMIT = 200
SOURCE = "replay"
_AT_ONCE = 1_000


@dataclass(frozen=True)
class RejectedEvent:
    """One refused body, as it was sent (the first 64 KB of it), and why it was refused."""

    id: int
    received_at: datetime
    source: str
    reason: str
    field: str | None
    detail: str
    raw: str
    replayed_at: datetime | None


@dataclass(frozen=True)
class Page:
    """Refused bodies, newest first, and how many there are by reason."""

    rejected: Sequence[RejectedEvent]
    by_reason: Mapping[str, int]


@dataclass(frozen=True)
class ReplayReport:
    """One replay: events that were looked at, stored now, stored before, and refused still, by reason."""

    seen: int = 0
    accepted: int = 0
    duplicate: int = 0
    still_rejected: Mapping[str, int] = field(default_factory=dict)


def listing(conn: Connection, *, source: str | None = None, reason: str | None = None, limit: int = 50) -> Page:
    """Return the newest refused bodies, of one source or of all; `by_reason` counts all that match the source."""
    mine = sa.true() if source is None else rejected_events.c.source == source
    such = sa.true() if reason is None else rejected_events.c.reason_code == reason
    newest = sa.select(rejected_events).where(mine, such).order_by(rejected_events.c.id.desc()).limit(limit)
    counts = sa.select(rejected_events.c.reason_code, sa.func.count()).where(mine).group_by(sa.text("1"))
    return Page(
        rejected=[_shown(row) for row in conn.execute(newest)],
        by_reason={row[0]: row[1] for row in conn.execute(counts)},
    )


def replay(conn: Connection, *, limits: wire.Limits, now: datetime, reason: str | None = None) -> ReplayReport:
    """Send every refused event in again that has not been replayed; store those that are acceptable now.

    Goes through them in batches, oldest first. `limits` are those of the door, of any age: they came in time.
    """
    seen, last = 0, 0
    became: Counter[str] = Counter()
    still: Counter[str] = Counter()
    while batch := _waiting(conn, reason, after=last):
        seen, last = seen + len(batch), batch[-1].id
        fit: dict[int, bytes] = {}
        for row in batch:
            try:
                fit[row.id] = _acceptable(row, limits, now)
            except Invalid as error:
                still[error.code] += 1
        door = Door(source=SOURCE, limits=limits, keeps_refused=False)
        report = ingest(conn, list(fit.values()), door=door, received_at=now)
        refused = {one.index: one.code for one in report.rejected}
        still.update(refused.values())
        became.update(accepted=report.accepted, duplicate=report.duplicate)
        done = [row_id for place, row_id in enumerate(fit) if place not in refused]
        conn.execute(sa.update(rejected_events).where(rejected_events.c.id.in_(done)).values(replayed_at=now))
    return ReplayReport(seen, became["accepted"], became["duplicate"], dict(still))


def _waiting(conn: Connection, reason: str | None, *, after: int) -> Sequence[sa.Row]:
    such = sa.true() if reason is None else rejected_events.c.reason_code == reason
    waiting = rejected_events.c.replayed_at.is_(None) & (rejected_events.c.id > after)
    query = sa.select(rejected_events).where(waiting, such).order_by(rejected_events.c.id).limit(_AT_ONCE)
    return conn.execute(query).all()


def _acceptable(row: sa.Row, limits: wire.Limits, now: datetime) -> bytes:
    """Return a refused body as it is sent again. Raises `Invalid` when it would be refused again."""
    try:
        body = msgspec.json.decode(bytes(row.raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The body is not valid JSON.", code="malformed_json") from error
    if not isinstance(body, dict):
        raise Invalid("The body is not one event.", code="malformed_json")
    named = {"messageId": f"rejected:{row.id}", "timestamp": row.received_at.isoformat()}
    again = msgspec.json.encode({**named, **{name: value for name, value in body.items() if value is not None}})
    wire.parse(again, now, limits)
    return again


def _shown(row: sa.Row) -> RejectedEvent:
    return RejectedEvent(
        id=row.id,
        received_at=row.received_at,
        source=row.source,
        reason=row.reason_code,
        field=row.field,
        detail=row.detail,
        raw=bytes(row.raw).decode("utf-8", "replace").replace("\x00", "\\u0000"),
        replayed_at=row.replayed_at,
    )
