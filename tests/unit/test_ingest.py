"""Events through the one door: stored once, refused with a reason, days marked dirty."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.observe.batch import Door, IngestReport
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.storage.tables import dirty_user_days, events, rejected_events, users

DOOR = Door(source="test", limits=Limits(currency="USD"))


def body(**fields: object) -> bytes:
    return json.dumps({"userId": "u1", "event": "login", **fields}).encode()


def send(conn: Connection, now: datetime, *bodies: bytes) -> IngestReport:
    return ingest(conn, bodies, door=DOOR, received_at=now)


def count(conn: Connection, table: sa.Table) -> int:
    return conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def test_an_event_is_stored_with_what_the_catalogue_reads_from_it(conn: Connection, now: datetime) -> None:
    report = send(
        conn, now, body(event="purchase", metadata={"amount": 49.9, "currency": "usd", "courseId": 7}, sessionId="s1")
    )
    assert report.accepted == 1
    row = conn.execute(sa.select(events)).one()
    assert (row.event, str(row.amount), row.course_id, row.session_id) == ("purchase", "49.90", "7", "s1")
    assert row.created_at == now
    assert conn.execute(sa.select(dirty_user_days.c.user_id, dirty_user_days.c.day)).all() == [("u1", now.date())]
    assert conn.execute(sa.select(users.c.id)).scalars().all() == ["u1"]


def test_the_same_message_id_is_stored_once_in_a_batch_and_across_batches(conn: Connection, now: datetime) -> None:
    first = send(conn, now, body(messageId="m1"), body(messageId="m1"), body(messageId="m2"))
    again = send(conn, now + timedelta(minutes=1), body(messageId="m2"), body(messageId="m3"))
    assert (first.accepted, first.duplicate) == (2, 1)
    assert (again.accepted, again.duplicate) == (1, 1)
    assert count(conn, events) == 3


def test_a_message_id_is_known_across_midnight_and_forgotten_after_two_days(conn: Connection, now: datetime) -> None:
    late = datetime(2026, 3, 4, 23, 59, tzinfo=UTC)
    send(conn, late, body(messageId="m1"))
    assert send(conn, late + timedelta(minutes=2), body(messageId="m1")).duplicate == 1
    assert send(conn, late + timedelta(hours=48), body(messageId="m1")).duplicate == 1


def test_an_id_that_returns_with_another_body_keeps_the_first_and_is_recorded(conn: Connection, now: datetime) -> None:
    send(conn, now, body(messageId="m1"))
    report = send(conn, now, body(messageId="m1", event="logout"))
    assert [one.code for one in report.rejected] == ["id_reused"]
    assert conn.execute(sa.select(events.c.event)).scalars().all() == ["login"]


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        (b"{", "malformed_json", None),
        (b'{"event": "login"}', "wrong_type", "userId"),
        (b'{"userId": 5, "event": "login"}', "wrong_type", "userId"),
        (b'{"userId": "u", "event": "login", "colour": 1}', "wrong_type", "colour"),
        (body(userId=""), "empty_id", "userId"),
        (body(userId="x" * 201), "long_id", "userId"),
        (body(userId="a\x00b"), "bad_character", "userId"),
        (body(userId="\ud800"), "malformed_json", None),
        (body(event="Lesson Completed"), "bad_event_name", "event"),
        (body(metadata={"a": {"b\x00": 1}}), "bad_character", "metadata"),
        (b'{"userId": "u", "event": "login", "metadata": {"n": NaN}}', "malformed_json", None),
        (b'{"userId": "u", "event": "login", "metadata": {"n": 1e400}}', "wrong_type", "metadata"),
        (body(metadata=json.loads('{"a":' * 33 + "1" + "}" * 33)), "too_deep", "metadata"),
        (body(metadata={"a": "x" * 33000}), "too_large", "metadata"),
        (body(metadata={str(n): n for n in range(256)}), "too_many_keys", "metadata"),
        (body(timestamp="2026-03-04T12:06:00Z"), "too_new", "timestamp"),
        (body(timestamp="2026-01-01T00:00:00Z"), "too_old", "timestamp"),
        (body(timestamp="2026-03-04T12:00:00"), "wrong_type", "timestamp"),
        (body(event="purchase", metadata={"amount": 5, "currency": "EUR"}), "other_currency", "metadata.currency"),
        (body(event="purchase", metadata={"amount": "many"}), "wrong_type", "metadata.amount"),
        (body(event="purchase", metadata={"amount": "NaN"}), "wrong_type", "metadata.amount"),
        (body(event="refund", metadata={"amount": -5}), "out_of_range", "metadata.amount"),
        (body(event="lesson_complete", metadata={"timeSpent": -1}), "out_of_range", "metadata.timeSpent"),
        (body(source="oracle"), "reserved_source", "source"),
    ],
)
def test_bad_input_is_refused_with_its_field_and_kept_while_the_good_is_stored(
    conn: Connection, now: datetime, raw: bytes, code: str, field: str | None
) -> None:
    report = send(conn, now, body(messageId="good"), raw)
    assert report.accepted == 1
    assert [(one.index, one.code, one.field) for one in report.rejected] == [(1, code, field)]
    kept = conn.execute(sa.select(rejected_events)).one()
    assert (kept.raw, kept.reason_code, kept.field, kept.source) == (raw, code, field, "test")
    assert count(conn, events) == 1


def test_a_clock_a_little_ahead_is_set_to_the_time_of_receipt(conn: Connection, now: datetime) -> None:
    send(conn, now, body(timestamp="2026-03-04T12:04:00Z"))
    assert conn.scalar(sa.select(events.c.created_at)) == now


def test_a_purchase_without_an_amount_is_stored_unpriced(conn: Connection, now: datetime) -> None:
    assert send(conn, now, body(event="purchase")).accepted == 1
    assert conn.execute(sa.select(events.c.amount)).scalar_one() is None
