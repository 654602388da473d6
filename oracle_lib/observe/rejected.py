"""Events that were refused: read back with their reasons, and sent in again once what was wrong is mended.

A replayed event keeps its message id, or gets one of its row, and the time at which it was first received, so replaying
twice adds it once. What is still refused stays as it is. Guarantee G2.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.observe import batch, segment, segment_ingest, wire
from oracle_lib.observe.batch import Door, IngestReport, Item
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.tracking_plan import NO_PLAN, Plan
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


@dataclass(frozen=True)
class Terms:
    """What refused events are held against when they come again: limits (of any age: they came in time), names, plan.

    `names` are the installation's own names of events that Segment's clients send.
    """

    limits: wire.Limits
    names: Mapping[str, str] = field(default_factory=dict)
    plan: Plan = NO_PLAN

    @property
    def door(self) -> Door:
        """The way by which they come in."""
        return Door(source=SOURCE, limits=self.limits, keeps_refused=False, plan=self.plan)


def replay(conn: Connection, *, terms: Terms, now: datetime, reason: str | None = None) -> ReplayReport:
    """Send every refused event in again that has not been replayed; store those that are acceptable now.

    Goes through them in batches, oldest first. A Segment message comes in as one, by the time at which it came first.
    """
    seen, last = 0, 0
    became: Counter[str] = Counter()
    still: Counter[str] = Counter()
    while waiting := _waiting(conn, reason, after=last):
        seen, last = seen + len(waiting), waiting[-1].id
        for again, rows in (
            (_events_again, [row for row in waiting if row.envelope is None]),
            (_messages_again, [row for row in waiting if row.envelope is not None]),
        ):
            report = again(conn, rows, terms, now)
            still.update(one.code for one in report.rejected)
            became.update(accepted=report.accepted, duplicate=report.duplicate)
            refused = {one.index for one in report.rejected}
            done = [row.id for place, row in enumerate(rows) if place not in refused]
            conn.execute(sa.update(rejected_events).where(rejected_events.c.id.in_(done)).values(replayed_at=now))
    return ReplayReport(seen, became["accepted"], became["duplicate"], dict(still))


def _events_again(conn: Connection, rows: Sequence[sa.Row], terms: Terms, now: datetime) -> IngestReport:
    return ingest(conn, [_named(row) for row in rows], door=terms.door, received_at=now)


def _messages_again(conn: Connection, rows: Sequence[sa.Row], terms: Terms, now: datetime) -> IngestReport:
    envelopes = (segment.reopened(row.envelope, row.received_at, terms.limits, terms.names) for row in rows)
    taken = batch.read([bytes(row.raw) for row in rows], lambda body: segment.parse(body, next(envelopes)), terms.plan)
    named = [Item(item.index, item.raw, segment.named(item.message, _name(rows[item.index]))) for item in taken.items]
    return segment_ingest.take_in(conn, replace(taken, items=named), door=terms.door, now=now)


def _waiting(conn: Connection, reason: str | None, *, after: int) -> Sequence[sa.Row]:
    such = sa.true() if reason is None else rejected_events.c.reason_code == reason
    waiting = rejected_events.c.replayed_at.is_(None) & (rejected_events.c.id > after)
    query = sa.select(rejected_events).where(waiting, such).order_by(rejected_events.c.id).limit(_AT_ONCE)
    return conn.execute(query).all()


def _named(row: sa.Row) -> bytes:
    """Return a refused event with what makes a second replay harmless: an id, and the time at which it came first."""
    try:
        body = msgspec.json.decode(bytes(row.raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bytes(row.raw)
    if not isinstance(body, dict):
        return bytes(row.raw)
    named = {"messageId": _name(row), "timestamp": row.received_at.isoformat()}
    try:
        return msgspec.json.encode({**named, **{name: value for name, value in body.items() if value is not None}})
    except (OverflowError, RecursionError):
        return bytes(row.raw)


def _name(row: sa.Row) -> str:
    return f"rejected:{row.id}"


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
