"""Refused events: read back with their reasons, sent in again when mended, and never twice."""

import json
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.observe import rejected, segment, segment_ingest
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.rejected import Terms
from oracle_lib.observe.segment import Envelope
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
    first = rejected.replay(conn, terms=Terms(IN_EUROS), now=later)
    again = rejected.replay(conn, terms=Terms(IN_EUROS), now=later + timedelta(days=1))
    assert (first.seen, first.accepted, first.still_rejected) == (3, 2, {"empty_id": 1})
    assert (again.seen, again.accepted, again.still_rejected) == (1, 0, {"empty_id": 1})
    stored = conn.execute(sa.select(events.c.message_id, events.c.created_at)).all()
    assert {row.created_at for row in stored} == {now}
    assert "m1" in {row.message_id for row in stored}


def test_an_event_that_came_in_otherwise_meanwhile_is_not_added(conn: Connection, now: datetime) -> None:
    refuse(conn, now, in_euros(messageId="m1", timestamp=now.isoformat()))
    door = Door(source="shop", limits=IN_EUROS)
    ingest(conn, [in_euros(messageId="m1", timestamp=now.isoformat())], door=door, received_at=now)
    report = rejected.replay(conn, terms=Terms(IN_EUROS), now=now)
    assert (report.accepted, report.duplicate) == (0, 1)
    assert conn.scalar(sa.select(sa.func.count()).select_from(events)) == 1


def test_a_replay_that_is_refused_again_leaves_no_second_row(conn: Connection, now: datetime) -> None:
    refuse(conn, now, in_euros(), b"{", b"[1]")
    for _ in range(2):
        assert rejected.replay(conn, terms=Terms(IN_DOLLARS), now=now).accepted == 0
    assert conn.scalar(sa.select(sa.func.count()).select_from(rejected_events)) == 3


def refuse_message(conn: Connection, now: datetime, body: dict[str, object], envelope: Envelope) -> None:
    door = Door(source="shop", limits=IN_DOLLARS)
    report = segment_ingest.take(conn, [json.dumps(body).encode()], envelope, door=door, allowed=segment.KINDS)
    assert len(report.rejected) == 1


def order(**fields: object) -> dict[str, object]:
    return {"userId": "u", "event": "Order Completed", "properties": {"revenue": 5, "currency": "EUR"}, **fields}


def test_a_segment_message_comes_in_again_as_one_at_the_time_at_which_it_happened(
    conn: Connection, now: datetime
) -> None:
    sent_at = now - timedelta(hours=3)  # the sender's clock is three hours slow
    in_batch = Envelope(None, now, IN_DOLLARS, sent_at=sent_at, context={"device": {"type": "phone"}})
    said = sent_at - timedelta(minutes=10)
    refuse_message(conn, now, order(type="track", messageId="m1", timestamp=said.isoformat()), in_batch)
    refuse_message(conn, now, order(), Envelope("track", now, IN_DOLLARS))
    refuse_message(conn, now, {"userId": "", "traits": {}}, Envelope("identify", now, IN_DOLLARS))
    later = now + timedelta(days=3)
    first = rejected.replay(conn, terms=Terms(IN_EUROS), now=later)
    again = rejected.replay(conn, terms=Terms(IN_EUROS), now=later)
    assert (first.seen, first.accepted, first.still_rejected) == (3, 2, {"empty_id": 1})
    assert (again.seen, again.accepted) == (1, 0)
    stored = conn.execute(sa.select(events).order_by(events.c.created_at)).all()
    assert [(row.event, row.source, row.amount) for row in stored] == [("purchase", "segment", 5)] * 2
    assert [row.created_at for row in stored] == [now - timedelta(minutes=10), now]
    assert stored[0].metadata["context"] == {"device": {"type": "phone"}}
    assert stored[0].message_id == "m1"


def test_a_segment_message_that_came_in_otherwise_meanwhile_is_not_added(conn: Connection, now: datetime) -> None:
    envelope = Envelope("track", now, IN_DOLLARS)
    refuse_message(conn, now, order(messageId="m1"), envelope)
    again = Envelope("track", now, IN_EUROS)
    door = Door(source="shop", limits=IN_EUROS)
    body = json.dumps(order(messageId="m1")).encode()
    assert segment_ingest.take(conn, [body], again, door=door, allowed=segment.KINDS).accepted == 1
    report = rejected.replay(conn, terms=Terms(IN_EUROS), now=now)
    assert (report.accepted, report.duplicate) == (0, 1)


def test_a_large_context_is_not_kept_with_every_refused_message_of_its_batch(conn: Connection, now: datetime) -> None:
    refuse_message(conn, now, order(), Envelope("track", now, IN_DOLLARS, context={"note": "x" * 20_000}))
    assert len(conn.scalar(sa.select(rejected_events.c.envelope)) or b"") < 200
