"""Refused events: read back with their reasons, sent in again when mended, and never twice."""

import json
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.observe import rejected
from oracle_lib.observe.ingest import Door, ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.storage.tables import events, rejected_events

IN_DOLLARS = Limits(currency="USD", late=None)
IN_EUROS = Limits(currency="EUR", late=None)


def refuse(conn: Connection, now: datetime, *bodies: bytes, source: str = "shop") -> None:
    assert ingest(conn, bodies, door=Door(source=source, limits=IN_DOLLARS), received_at=now).accepted == 0


def in_euros(**fields: object) -> bytes:
    body = {"userId": "u", "event": "purchase", "metadata": {"amount": 5, "currency": "EUR"}, **fields}
    return json.dumps(body).encode()


def test_a_source_sees_its_own_and_counts_by_reason(conn: Connection, now: datetime) -> None:
    refuse(conn, now, in_euros(), in_euros(userId=""), b"{")
    refuse(conn, now, b"[]", source="other")
    page = rejected.listing(conn, source="shop", reason="other_currency")
    assert [(one.reason, one.field, one.raw) for one in page.rejected] == [
        ("other_currency", "metadata.currency", in_euros().decode())
    ]
    assert page.by_reason == {"other_currency": 1, "empty_id": 1, "malformed_json": 1}
    assert sum(rejected.listing(conn).by_reason.values()) == 4


def test_what_is_mended_is_stored_once_at_its_own_time_however_often_it_is_replayed(
    conn: Connection, now: datetime
) -> None:
    refuse(conn, now, in_euros(messageId="m1"), in_euros(), in_euros(userId=""))
    later = now + timedelta(days=40)
    first = rejected.replay(conn, limits=IN_EUROS, now=later)
    again = rejected.replay(conn, limits=IN_EUROS, now=later + timedelta(days=1))
    assert (first.seen, first.accepted, first.still_rejected) == (3, 2, {"empty_id": 1})
    assert (again.seen, again.accepted, again.still_rejected) == (1, 0, {"empty_id": 1})
    stored = conn.execute(sa.select(events.c.message_id, events.c.created_at)).all()
    assert {row.created_at for row in stored} == {now}
    assert "m1" in {row.message_id for row in stored}


def test_an_event_that_came_in_otherwise_meanwhile_is_not_added(conn: Connection, now: datetime) -> None:
    refuse(conn, now, in_euros(messageId="m1", timestamp=now.isoformat()))
    door = Door(source="shop", limits=IN_EUROS)
    ingest(conn, [in_euros(messageId="m1", timestamp=now.isoformat())], door=door, received_at=now)
    report = rejected.replay(conn, limits=IN_EUROS, now=now)
    assert (report.accepted, report.duplicate) == (0, 1)
    assert conn.scalar(sa.select(sa.func.count()).select_from(events)) == 1


def test_a_replay_that_is_refused_again_leaves_no_second_row(conn: Connection, now: datetime) -> None:
    refuse(conn, now, in_euros(), b"{", b"[1]")
    for _ in range(2):
        assert rejected.replay(conn, limits=IN_DOLLARS, now=now).accepted == 0
    assert conn.scalar(sa.select(sa.func.count()).select_from(rejected_events)) == 3
