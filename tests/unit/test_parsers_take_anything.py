"""Whatever is sent: a parser gives what PostgreSQL stores, or refuses it with a code and a text. Nothing else.

Each property hands what it saw to the door itself, which stores it or keeps it with the reason. Full size
(`ORACLE_FULL=1`): twenty times as many examples.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from oracle_lib.errors import Invalid
from oracle_lib.observe import batch, ingest, rejected, segment, segment_ingest, wire
from oracle_lib.observe.batch import Door, IngestReport, Refused
from oracle_lib.observe.rejected import Terms
from oracle_lib.observe.segment import KINDS, Envelope
from oracle_lib.observe.wire import Limits
from oracle_lib.storage.tables import events, rejected_events
from tests.anything import any_json, any_text, bodies, message, objects
from tests.conftest import FULL, NOW

LIMITS = Limits(currency="USD")
DOOR = Door(source="test", limits=LIMITS)
EXAMPLES = 10_000 if FULL else 800
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

FACTS = ("amount", "currency", "timeSpent", "courseId", "lessonId", "sessionId", "email", "createdAt", "timezone")
# Names of the profile's fields in spellings of their own.
SPELLED = ("first\x00name", "e-mail", "Created At", "name", "locale")
value = any_json(*FACTS)
facts = objects(st.sampled_from(FACTS[:3]) | st.sampled_from(FACTS), value)
traits = objects(st.sampled_from(SPELLED) | st.sampled_from(FACTS), value)
context = objects(st.sampled_from(["device", "timezone", "locale", "sessionId"]), value)
name = st.sampled_from(['"purchase"', '"lesson_complete"', '"refund"', '"Lesson Completed"']) | value
kind = st.sampled_from([f'"{one}"' for one in KINDS])
words = any_text()
event = message(
    {"userId": "u1", "event": "purchase"},
    {
        **dict.fromkeys(("userId", "source", "sessionId", "timestamp", "messageId"), words),
        "event": name,
        "metadata": facts,
        "colour": value,
    },
) | facts.map('{{"userId":"u1","event":"purchase","metadata":{}}}'.format)
CALL = {"type": "track", "userId": "u1", "event": "Order Completed", "previousId": "a1", "groupId": "g1"}
STAMPS = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
call = message(
    dict(CALL),
    {
        "type": kind,
        "properties": facts,
        "traits": traits,
        "context": context,
        "event": name,
        **dict.fromkeys(("userId", "anonymousId", "previousId", "groupId", "name", "messageId", *STAMPS), words),
    },
)
profile = message({"type": "identify", "userId": "u1"}, {"traits": traits, "context": context, "anonymousId": words})


def listed(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(texts, max_size=3).map(lambda found: f"[{','.join(found)}]")


envelopes = message({"batch": []}, {"batch": listed(call | value), "sentAt": value, "context": context | value})


def seen_by(examples: st.SearchStrategy[bytes], parse: Callable[[bytes], object]) -> list[bytes]:
    """Give examples to a parser; return them all once each was taken or refused as it should be."""
    seen: dict[bytes, bool] = {}
    refusals: list[Invalid] = []

    @many
    @given(examples)
    def taken_or_refused(raw: bytes) -> None:
        try:
            parse(raw)
        except Invalid as error:
            seen[raw] = False
            refusals.append(error)
        else:
            seen[raw] = True

    taken_or_refused()
    assert all(error.code and str(error) for error in refusals)
    # A property that only ever sees one of the two says little.
    assert EXAMPLES / 12 < sum(seen.values()) < len(seen)
    return list(seen)


def assert_all_kept(conn: Connection, sent: Sequence[bytes], report: IngestReport) -> int:
    """Say that each is stored, was stored, or is kept to be read and sent again; return how many came of that."""
    assert report.accepted + report.duplicate + len(report.rejected) == len(sent)
    kept = conn.execute(sa.select(rejected_events.c.raw).order_by(rejected_events.c.id)).scalars().all()
    assert sorted(kept) == sorted(sent[one.index][: ingest.RAW_KEPT_BYTES] for one in report.rejected)
    assert rejected.listing(conn, limit=len(sent)).rejected
    again = rejected.replay(conn, terms=Terms(LIMITS), now=NOW)
    assert again.seen == len(kept)
    return again.accepted


def test_any_event_is_stored_or_refused(conn: Connection, now: datetime) -> None:
    sent = seen_by(bodies(event), lambda raw: wire.parse(raw, now, LIMITS))
    report = ingest.ingest(conn, sent, door=DOOR, received_at=now)
    again = assert_all_kept(conn, sent, report)
    stored = conn.execute(sa.select(sa.func.count(), sa.func.max(events.c.created_at)).select_from(events)).one()
    assert stored[0] == report.accepted + again
    assert stored[1] <= now


def test_any_message_of_segments_is_stored_or_refused(conn: Connection, now: datetime) -> None:
    envelope = Envelope(None, now, LIMITS, {"Lesson Completed": "purchase"})
    sent = seen_by(bodies(call | profile), lambda raw: segment.parse(raw, envelope))
    report = segment_ingest.take(conn, sent, envelope, door=DOOR, allowed=KINDS)
    assert_all_kept(conn, sent, report)


def test_any_batch_of_segments_is_opened_or_refused_and_what_is_in_it_too(conn: Connection, now: datetime) -> None:
    envelope = Envelope(None, now, LIMITS)
    for raw in seen_by(bodies(envelopes), lambda raw: segment.open_batch(raw, envelope)):
        try:
            items, opened = segment.open_batch(raw, envelope)
        except Invalid as error:
            ingest.keep_rejected(conn, [Refused(0, raw, error)], "test", now)
        else:
            report = segment_ingest.take(conn, items, opened, door=DOOR, allowed=KINDS)
            assert report.accepted + report.duplicate + len(report.rejected) == len(items)


def test_any_array_is_cut_into_its_items_or_refused(conn: Connection, now: datetime) -> None:
    for raw in seen_by(bodies(listed(event | value)), batch.split):
        try:
            items = batch.split(raw)
        except Invalid as error:
            ingest.keep_rejected(conn, [Refused(0, raw, error)], "test", now)
        else:
            report = ingest.ingest(conn, items, door=DOOR, received_at=now)
            assert report.accepted + report.duplicate + len(report.rejected) == len(items)


def test_any_moments_of_a_message_give_one_that_is_neither_ahead_nor_too_old(now: datetime) -> None:
    anywhen = st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=14))]))
    lately = st.timedeltas(timedelta(days=-40), timedelta(hours=1)).map(lambda past: now + past)
    stamp = (anywhen | lately | lately).map(lambda moment: f'"{moment.isoformat()}"')
    # By a sender's clock that has run out.
    envelope = Envelope("track", now, LIMITS, sent_at=datetime(9999, 12, 31, tzinfo=UTC))

    def within(raw: bytes) -> None:
        found = segment.parse(raw, envelope).event
        assert found is not None
        assert now - wire.LATE <= found.created_at <= now

    seen_by(message(dict(CALL), dict.fromkeys(STAMPS, stamp)).map(str.encode), within)
