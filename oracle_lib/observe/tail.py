"""Watching events come in, each with what became of it: for whoever connects a product and wants to see it work.

A tail is a row with a lease; what it has to show is written by the transaction that decided about the event and taken
by the tail, in that order, so it works over any number of API processes. While nobody watches, nothing is written.
What was shown is gone, and what nobody fetches is dropped with the lease. Tests: `tests/api/test_event_tail.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Limited
from oracle_lib.storage.tables import event_tails, tailed_events

LEASE = timedelta(seconds=30)
# At once in an installation, and events that wait for one of them.
MOST_TAILS = 20
MOST_WAITING = 1_000
BODY_SHOWN = 4_096

Outcome = Literal["accepted", "duplicate", "rejected", "left_out"]


@dataclass(frozen=True)
class Tail:
    """Someone who watches: events of a source, of a key, or all. `id` is a UUID."""

    id: str
    source: str | None
    key_id: str | None

    def watches(self, source: str, key_id: str) -> bool:
        """Say whether it shows what a key of a source sends."""
        return self.source in (None, source) and self.key_id in (None, key_id)


class Shown(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One event that came in and what became of it. `event` is the name it has here, `body` its first 4 KB as sent.

    `reason`, `field` and `detail` say why it was rejected, or what the tracking plan has against it. An outcome
    `left_out` stands for events that came faster than they were fetched.
    """

    outcome: Outcome
    received_at: datetime
    source: str
    message_id: str | None = None
    user_id: str | None = None
    event: str | None = None
    reason: str | None = None
    field: str | None = None
    detail: str | None = None
    body: str | None = None


def open_tail(conn: Connection, now: datetime, *, source: str | None = None, key_id: str | None = None) -> Tail:
    """Begin to watch. Raises `Limited` when too many do. Forgets tails whose lease has ended."""
    ended = sa.delete(event_tails).where(event_tails.c.until < now).returning(event_tails.c.id)
    conn.execute(ended)
    conn.execute(sa.delete(tailed_events).where(tailed_events.c.tail_id.not_in(sa.select(event_tails.c.id))))
    if (conn.scalar(sa.select(sa.func.count()).select_from(event_tails)) or 0) >= MOST_TAILS:
        raise Limited(f"{MOST_TAILS} tails are open already; close one.", retry_after=LEASE.total_seconds())
    made = sa.insert(event_tails).values(source=source, key_id=key_id, until=now + LEASE).returning(event_tails.c.id)
    return Tail(str(conn.execute(made).scalar_one()), source, key_id)


def live(conn: Connection, now: datetime) -> tuple[Tail, ...]:
    """Return who watches."""
    rows = conn.execute(sa.select(event_tails).where(event_tails.c.until >= now))
    return tuple(Tail(str(row.id), row.source, row.key_id) for row in rows)


def take(conn: Connection, tail: Tail, now: datetime) -> list[Shown]:
    """Return what there is to show, in the order in which it was decided, and extend the lease."""
    row = {"id": tail.id, "source": tail.source, "key_id": tail.key_id, "until": now + LEASE}
    renewed = sa.dialects.postgresql.insert(event_tails).values(row)
    conn.execute(renewed.on_conflict_do_update(index_elements=["id"], set_={"until": now + LEASE}))
    taken = sa.delete(tailed_events).where(tailed_events.c.tail_id == tail.id)
    rows = conn.execute(taken.returning(tailed_events.c.id, tailed_events.c.shown)).all()
    return [msgspec.convert(row.shown, Shown) for row in sorted(rows, key=lambda row: row.id)]


def close(conn: Connection, tail: Tail) -> None:
    """Watch no more."""
    conn.execute(sa.delete(event_tails).where(event_tails.c.id == tail.id))
    conn.execute(sa.delete(tailed_events).where(tailed_events.c.tail_id == tail.id))


def show(conn: Connection, tails: Iterable[str], events: Sequence[Shown]) -> None:
    """Write down what became of events for each of `tails` (ids), as far as they keep up."""
    for tail in tails:
        mine = tailed_events.c.tail_id == tail
        waiting = conn.scalar(sa.select(sa.func.count()).select_from(tailed_events).where(mine)) or 0
        room = max(0, MOST_WAITING - waiting)
        fit = [*events[:room]]
        if len(events) > room:
            last, left = events[-1], len(events) - room
            detail = f"{left} events came faster than they were shown."
            fit.append(Shown(outcome="left_out", received_at=last.received_at, source=last.source, detail=detail))
        rows = [{"tail_id": tail, "shown": msgspec.to_builtins(one)} for one in fit]
        conn.execute(sa.insert(tailed_events), rows)


def shown_body(raw: bytes) -> str:
    """Return a body as it can be shown and stored: cut, with what is no text replaced."""
    return raw[:BODY_SHOWN].decode("utf-8", "replace").replace("\x00", "\ufffd")
