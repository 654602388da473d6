"""Events over HTTP: what is answered is what stands in the tables."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import dirty_user_days, events, rejected_events, users
from tests.api.conftest import MakeClient


def rows(store: Store, table: sa.Table) -> list[sa.Row]:
    with store.transaction() as conn:
        return list(conn.execute(sa.select(table)).all())


def test_an_accepted_event_stands_in_the_table_when_the_answer_is_read(client: httpx.Client, store: Store) -> None:
    body = {"userId": "u1", "event": "login", "metadata": {"device": "phone"}, "source": "web", "sessionId": "s1"}
    answer = client.post("/api/oracle/events", json=body)
    assert (answer.status_code, answer.json()) == (202, {"accepted": True, "duplicate": False})
    (row,) = rows(store, events)
    assert (row.user_id, row.event, row.metadata, row.source, row.session_id) == tuple(body.values())
    assert [one.id for one in rows(store, users)] == ["u1"]
    assert len(rows(store, dirty_user_days)) == 1


def test_the_same_message_id_is_answered_as_a_duplicate_and_stored_once(client: httpx.Client, store: Store) -> None:
    body = {"userId": "u1", "event": "login", "messageId": "m1"}
    answers = [client.post("/api/oracle/events", json=body) for _ in range(2)]
    assert [(one.status_code, one.json()["duplicate"]) for one in answers] == [(202, False), (202, True)]
    assert len(rows(store, events)) == 1


def test_a_refused_event_is_answered_with_its_field_and_kept(client: httpx.Client, store: Store) -> None:
    answer = client.post("/api/oracle/events", json={"userId": "", "event": "login"})
    assert answer.status_code == 422
    assert (answer.json()["error"]["code"], answer.json()["error"]["field"]) == ("empty_id", "userId")
    (kept,) = rows(store, rejected_events)
    assert (kept.source, kept.reason_code, kept.field) == ("test backend", "empty_id", "userId")
    assert rows(store, events) == []


def test_a_batch_stores_the_good_and_answers_each_bad_one_by_its_place(client: httpx.Client, store: Store) -> None:
    good = [{"userId": "u1", "event": "login", "messageId": "m1"}, {"userId": "u2", "event": "quiz_pass"}]
    sent = [good[0], {"userId": "u3"}, good[0], {"userId": "a\x00b", "event": "login"}, good[1]]
    answer = client.post("/api/oracle/events/batch", json=sent)
    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["duplicate"]) == (2, 1)
    assert [(one["index"], one["reason"], one["field"]) for one in told["rejected"]] == [
        (1, "wrong_type", "event"),
        (3, "bad_character", "userId"),
    ]
    assert sorted(row.user_id for row in rows(store, events)) == ["u1", "u2"]
    assert len(rows(store, rejected_events)) == 2


def test_a_batch_may_be_wrapped_and_compressed(client: httpx.Client, store: Store) -> None:
    body = json.dumps({"batch": [{"userId": f"u{n}", "event": "login"} for n in range(3)]}).encode()
    answer = client.post("/api/oracle/events/batch", content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 3)
    assert len(rows(store, events)) == 3


def test_a_batch_that_is_no_json_is_refused_and_kept(client: httpx.Client, store: Store) -> None:
    answer = client.post("/api/oracle/events/batch", content=b'[{"userId": "u1"')
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "malformed_json")
    assert [row.raw for row in rows(store, rejected_events)] == [b'[{"userId": "u1"']


def test_events_are_read_back_newest_first_and_filtered(client: httpx.Client, store: Store) -> None:
    start = clock.now() - timedelta(hours=3)
    sent = [
        {"userId": f"u{n % 2}", "event": "login" if n < 4 else "quiz_pass", "timestamp": when.isoformat()}
        for n in range(6)
        for when in [start + timedelta(minutes=n)]
    ]
    assert client.post("/api/oracle/events/batch", json=sent).json()["accepted"] == 6
    all_of_them = client.get("/api/oracle/events").json()["events"]
    newest = sorted(rows(store, events), key=lambda row: row.created_at, reverse=True)
    assert [one["id"] for one in all_of_them] == [str(row.id) for row in newest]
    assert all_of_them[0] | {"metadata": None} == {
        "id": str(newest[0].id),
        "messageId": newest[0].message_id,
        "userId": "u1",
        "event": "quiz_pass",
        "metadata": None,
        "source": None,
        "sessionId": None,
        "createdAt": newest[0].created_at.isoformat().replace("+00:00", "Z"),
        "receivedAt": newest[0].received_at.isoformat().replace("+00:00", "Z"),
    }
    of_one = client.get("/api/oracle/events", params={"userId": "u0", "event": "login", "limit": 1}).json()["events"]
    assert [(one["userId"], one["event"], one["createdAt"]) for one in of_one] == [
        ("u0", "login", (start + timedelta(minutes=2)).isoformat().replace("+00:00", "Z"))
    ]
    since = client.get("/api/oracle/events", params={"since": (start + timedelta(minutes=4)).isoformat()})
    assert len(since.json()["events"]) == 2


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"userId": "a\x00b"}, "userId"),
        ({"userId": "x" * 201}, "userId"),
    ],
)
def test_a_bad_filter_is_refused_by_name(client: httpx.Client, parameters: dict[str, str], field: str) -> None:
    answer = client.get("/api/oracle/events", params=parameters)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


def test_a_sender_reads_its_own_refused_events_back_with_the_fix(client_with: MakeClient) -> None:
    shop = client_with("events:write")
    shop.post("/api/oracle/events", json={"userId": "", "event": "login"})
    answer = shop.get("/api/oracle/rejected-events").json()
    assert [(one["reason"], one["field"], one["source"]) for one in answer["rejected"]] == [
        ("empty_id", "userId", "test backend")
    ]
    assert answer["byReason"] == {"empty_id": 1}


def test_single_events_at_once_share_commits_and_each_is_answered_for_itself(client_with: MakeClient) -> None:
    shop = client_with("events:write", "events:read")
    bodies = [
        {"userId": f"u{n % 30}", "event": "login" if n % 5 else "Not Snake", "messageId": f"m{n % 30}"}
        for n in range(60)
    ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: shop.post("/api/oracle/events", json=body), bodies))
    assert [answer.status_code for answer in answers] == [202 if n % 5 else 422 for n in range(60)]
    stored = [answer.json() for answer in answers if answer.status_code == 202]
    assert sum(one["accepted"] for one in stored) == 24
    assert sum(one["duplicate"] for one in stored) == 24
    assert len(shop.get("/api/oracle/events", params={"limit": 200}).json()["events"]) == 24
