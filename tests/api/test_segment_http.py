"""Segment's HTTP interface over real HTTP: what stands in the tables is what its specification says was sent."""

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.observe import activity, catalogue, segment_names
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import (
    aliases,
    dirty_user_days,
    events,
    rejected_events,
    suppressions,
    user_days,
    users,
)
from tests.api.conftest import MakeClient, make_key, serving

Post = Callable[..., httpx.Response]


@pytest.fixture
def post(client_with: MakeClient) -> Post:
    """Posts as a stock client does: Basic auth, the write key as user name, no password."""
    client = client_with("events:write", "users:write")
    auth = (client.headers.pop("Authorization").removeprefix("Bearer "), "")
    return lambda path, body, **more: client.post(f"/v1/{path}", json=body, auth=auth, **more)


def rows(store: Store, table: sa.Table) -> list[sa.Row]:
    with store.transaction() as conn:
        return list(conn.execute(sa.select(table)).all())


def sent(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()) == (200, {"success": True})


def test_a_track_is_an_event_of_the_catalogue_that_keeps_what_was_sent(post: Post, store: Store) -> None:
    context = {"library": {"name": "analytics-python"}, "device": {"type": "phone"}}
    properties = {"course_id": "c1", "lessonID": 7, "time_spent": 90, "grade": "A"}
    sent(
        post(
            "track",
            {
                "userId": "u1",
                "anonymousId": None,
                "event": "Lesson Completed",
                "properties": properties,
                "context": context,
                "messageId": "m1",
                "integrations": {"All": True},
            },
        )
    )
    (row,) = rows(store, events)
    assert (row.user_id, row.event, row.message_id, row.source) == ("u1", "lesson_complete", "m1", "segment")
    assert (row.course_id, row.lesson_id, row.seconds) == ("c1", "7", 90)
    assert row.metadata == {
        "courseId": "c1",
        "lessonId": 7,
        "timeSpent": 90,
        "grade": "A",
        "device": "phone",
        "originalEvent": "Lesson Completed",
        "context": context,
    }


@pytest.mark.parametrize(
    ("name", "properties", "ours", "amount"),
    [
        ("Order Completed", {"revenue": 25.5, "total": 30}, "purchase", "25.50"),
        ("Product Purchased", {"total": "12.00"}, "purchase", "12.00"),
        ("orderRefunded", {"value": 3}, "refund", "3.00"),
        ("Signed Up", {}, "signup", None),
        ("Logged In", {}, "login", None),
        ("Course Completed", {}, "course_complete", None),
        ("Email Opened", {}, "email_open", None),
        ("Video  Playback-Started!", {}, "video_playback_started", None),
        ("XMLExportDone", {}, "xml_export_done", None),
        ("3D viewed", {}, "event_3d_viewed", None),
    ],
)
def test_names_map_to_the_catalogue_or_become_snake_case(
    post: Post, store: Store, name: str, properties: dict[str, object], ours: str, amount: str | None
) -> None:
    sent(post("track", {"userId": "u1", "event": name, "properties": properties}))
    (row,) = rows(store, events)
    assert (row.event, row.metadata["originalEvent"]) == (ours, name)
    assert row.amount == (None if amount is None else Decimal(amount))


def test_every_name_of_the_table_is_its_own_snake_case_and_leads_to_the_catalogue() -> None:
    assert [name for name in segment_names.CATALOGUE if segment_names.snake(name) != name] == []
    assert set(segment_names.CATALOGUE.values()) <= set(catalogue.KINDS)


def test_a_name_in_another_script_is_stored_under_a_name_of_its_own() -> None:
    first, second = segment_names.snake("Урок 5"), segment_names.snake("Глава 5")
    assert first != second
    assert first == segment_names.snake("Урок 5")
    assert catalogue.is_valid_name(first)
    assert segment_names.snake("Café Ouvert") == "cafe_ouvert"


def test_an_installation_renames_events(store: Store, database_url: str) -> None:
    settings = Settings(
        database_url=database_url, environment="test", segment_names={"Kurs beendet": "course_complete", "won": "login"}
    )
    with store.transaction() as conn:
        key = make_key(conn, "events:write")
    with serving(store, settings) as address:
        for name in ("Kurs beendet", "Won"):
            sent(httpx.post(f"{address}/v1/track", json={"userId": "u1", "event": name}, auth=(key, "")))
    assert {row.event for row in rows(store, events)} == {"course_complete", "login"}


def test_pages_and_screens_are_page_views(post: Post, store: Store) -> None:
    sent(post("page", {"userId": "u1", "name": "Home", "category": None, "properties": {"url": "https://a.example/"}}))
    sent(post("screen", {"userId": "u1", "name": "Start", "properties": {"name": "given"}}))
    page, screen = sorted(rows(store, events), key=lambda row: row.received_at)
    assert (page.event, screen.event) == ("page_view", "page_view")
    assert page.metadata == {"name": "Home", "url": "https://a.example/", "originalEvent": "page"}
    assert screen.metadata == {"name": "given", "originalEvent": "screen"}


def test_a_clock_that_is_wrong_by_days_is_corrected_by_when_it_says_it_sent(post: Post, store: Store) -> None:
    wrong = datetime(2020, 1, 1, tzinfo=UTC)
    before = clock.now()
    single = {"userId": "u1", "event": "login", "timestamp": wrong.isoformat()}
    sent(post("track", {**single, "sentAt": (wrong + timedelta(minutes=5)).isoformat()}))
    later = {"batch": [{**single, "type": "track"}], "sentAt": (wrong + timedelta(hours=1)).isoformat()}
    sent(post("batch", later))
    after = clock.now()
    first, second = sorted(rows(store, events), key=lambda row: row.received_at)
    assert before - timedelta(minutes=5) <= first.created_at <= after - timedelta(minutes=5)
    assert before - timedelta(hours=1) <= second.created_at <= after - timedelta(hours=1)


def test_a_time_that_was_corrected_before_is_not_corrected_again(post: Post, store: Store) -> None:
    happened = (clock.now() - timedelta(hours=2)).replace(microsecond=0)
    forwarded = {
        "userId": "u1",
        "event": "login",
        "timestamp": happened.isoformat(),
        "originalTimestamp": "2020-01-01T00:00:00Z",
        "sentAt": "2020-01-01T00:00:01Z",
        "receivedAt": happened.isoformat(),
    }
    sent(post("track", forwarded))
    sent(post("track", {"userId": "u2", "event": "login", "timestamp": happened.replace(tzinfo=None).isoformat()}))
    assert {row.created_at for row in rows(store, events)} == {happened}


def test_the_same_message_sent_again_is_stored_once_whatever_it_says_of_when_it_was_sent(
    post: Post, store: Store
) -> None:
    message = {
        "type": "track",
        "userId": "u1",
        "event": "login",
        "messageId": "m1",
        "timestamp": clock.now().isoformat(),
    }
    for seconds in range(3):
        sent(post("batch", {"batch": [message], "sentAt": (clock.now() + timedelta(seconds=seconds)).isoformat()}))
    sent(post("track", message))
    assert len(rows(store, events)) == 1
    assert rows(store, rejected_events) == []
    answer = post("track", {**message, "event": "logout"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "id_reused")
    assert [row.event for row in rows(store, events)] == ["login"]


def test_an_identify_that_is_sent_again_late_does_not_undo_a_newer_one(post: Post, store: Store) -> None:
    old = {"userId": "u1", "traits": {"plan": "free"}, "messageId": "m1"}
    for message in (old, {"userId": "u1", "traits": {"plan": "pro"}, "messageId": "m2"}, old):
        sent(post("identify", message))
    assert [row.traits for row in rows(store, users)] == [{"plan": "pro"}]


def test_identify_changes_the_profile(post: Post, store: Store) -> None:
    traits = {
        "email": "ada@example.org",
        "name": "Ada King Lovelace",
        "createdAt": "2026-01-02T03:04:05Z",
        "language": "en-GB",
        "plan": "pro",
        "phone": None,
    }
    context = {"timezone": "Europe/London", "locale": "de"}
    sent(post("identify", {"userId": "u1", "traits": traits, "context": context}))
    sent(post("identify", {"userId": "u1", "traits": {"email": "", "first_name": "A."}, "context": {"timezone": "?"}}))
    (row,) = rows(store, users)
    assert (row.email, row.first_name, row.last_name) == ("ada@example.org", "A.", "King Lovelace")
    assert (row.time_zone, row.locale, row.traits) == ("Europe/London", "en-GB", {"plan": "pro"})
    assert row.joined_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert rows(store, events) == []


def test_group_is_a_trait(post: Post, store: Store) -> None:
    sent(post("group", {"userId": "u1", "groupId": 5, "traits": {"name": "Physics"}}))
    assert rows(store, users)[0].traits == {"groupId": "5", "group": {"name": "Physics"}}


def anonymous_visit(post: Post, anonymous_id: str, *, days_ago: int = 0) -> None:
    when = (clock.now() - timedelta(days=days_ago)).isoformat()
    sent(post("track", {"anonymousId": anonymous_id, "event": "Lesson Completed", "timestamp": when}))


def test_what_was_done_before_the_login_belongs_to_the_user(post: Post, store: Store) -> None:
    for days_ago in (0, 3):
        anonymous_visit(post, "a1", days_ago=days_ago)
    sent(post("identify", {"anonymousId": "a1", "traits": {"email": "ada@example.org", "plan": "free"}}))
    with store.transaction() as conn:
        conn.execute(sa.insert(suppressions).values(user_id="anon:a1", channel="email", reason="complaint"))
        activity.rollup(conn)
    assert {row.user_id for row in rows(store, user_days)} == {"anon:a1"}
    sent(post("identify", {"userId": "u1", "anonymousId": "a1", "traits": {"plan": "pro"}}))
    anonymous_visit(post, "a1")
    assert [row.user_id for row in rows(store, events)] == ["u1"] * 3
    assert {row.user_id for row in rows(store, dirty_user_days)} == {"anon:a1", "u1"}
    (person,) = rows(store, users)
    assert (person.id, person.email, person.traits) == ("u1", "ada@example.org", {"plan": "pro"})
    assert {row.user_id for row in rows(store, suppressions)} == {"anon:a1", "u1"}
    with store.transaction() as conn:
        activity.rollup(conn)
    assert sorted((row.user_id, row.lesson_complete) for row in rows(store, user_days)) == [("u1", 1), ("u1", 2)]


def test_an_alias_leads_to_the_user_in_one_step_however_they_are_chained(post: Post, store: Store) -> None:
    anonymous_visit(post, "a1")
    sent(post("track", {"userId": "old", "event": "login"}))
    sent(post("alias", {"previousId": "a1", "userId": "old"}))
    sent(post("alias", {"previousId": "old", "userId": "new"}))
    sent(post("alias", {"previousId": "new", "userId": "old"}))
    sent(post("track", {"userId": "old", "event": "logout"}))
    anonymous_visit(post, "a1")
    assert {row.user_id for row in rows(store, events)} == {"new"}
    found = {row.previous_id: row.user_id for row in rows(store, aliases)}
    assert set(found.values()) == {"new"}
    assert {"old", "anon:a1"} <= set(found)
    assert "new" not in found


def test_the_next_to_identify_on_a_shared_device_gets_what_comes_after(post: Post, store: Store) -> None:
    anonymous_visit(post, "a1")
    for user in ("u1", "u2"):
        sent(post("identify", {"userId": user, "anonymousId": "a1"}))
    anonymous_visit(post, "a1")
    assert [row.user_id for row in sorted(rows(store, events), key=lambda row: row.received_at)] == ["u1", "u2"]


def test_a_batch_stores_the_good_and_keeps_the_bad_and_is_not_sent_again(post: Post, store: Store) -> None:
    batch = [
        {"type": "track", "userId": "u1", "event": "login", "messageId": "m1"},
        {"type": "track", "event": "login"},
        {"type": "wave", "userId": "u1"},
        {"type": "identify", "userId": "u1", "traits": {"email": "nobody"}},
        {"type": "track", "userId": "u1", "event": "Order Completed", "properties": {"revenue": -1}},
        {"type": "track", "userId": "u1", "event": "x", "properties": {"text": "x" * 32_768}},
        {"type": "page", "userId": "u2", "messageId": "m2"},
        7,
    ]
    for path in ("batch", "import"):
        answer = post(path, {"batch": batch})
        assert (answer.status_code, answer.json()["success"]) == (200, True)
        assert [(one["index"], one["reason"]) for one in answer.json()["rejected"]] == [
            (1, "empty_id"),
            (2, "bad_type"),
            (3, "bad_email"),
            (4, "out_of_range"),
            (5, "too_large"),
            (7, "wrong_type"),
        ]
    assert {row.message_id for row in rows(store, events)} == {"m1", "m2"}
    kept = rows(store, rejected_events)
    assert len(kept) == 12
    assert json.loads(kept[0].raw) == batch[1]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"batch": [', 400, "malformed_json"),
        (b"[]", 400, "malformed_json"),
        (b'{"batch": 5}', 400, "malformed_json"),
        (b"\xff\xfe", 400, "malformed_json"),
        (b"[" * 100_000, 400, "malformed_json"),
        (json.dumps({"batch": [{}] * 2_501}).encode(), 413, "too_many"),
        (json.dumps({"batch": ["x" * 1_048_576]}).encode(), 413, "too_large"),
    ],
)
def test_a_malformed_request_is_answered_so_that_no_client_tries_again(
    client: httpx.Client, body: bytes, status: int, code: str
) -> None:
    answer = client.post("/v1/batch", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_compressed_batch_of_2500_is_taken(client: httpx.Client, store: Store) -> None:
    batch = [{"type": "track", "userId": f"u{n % 9}", "event": "login", "messageId": f"m{n}"} for n in range(2_500)]
    body = gzip.compress(json.dumps({"batch": batch, "sentAt": "nonsense"}).encode())
    sent(client.post("/v1/batch", content=body, headers={"Content-Encoding": "gzip"}))
    assert len(rows(store, events)) == 2_500


def test_a_context_that_leaves_no_room_is_left_out_and_said_so(post: Post, store: Store) -> None:
    message = {"type": "track", "userId": "u1", "event": "x", "properties": {"text": "x" * 20_000}}
    sent(post("batch", {"batch": [message], "context": {"filler": "y" * 20_000}}))
    (row,) = rows(store, events)
    assert row.metadata["contextTrimmed"] is True
    assert "context" not in row.metadata
    assert len(row.metadata["text"]) == 20_000


def test_a_key_that_may_not_change_users_stores_events_only(client_with: MakeClient, store: Store) -> None:
    batch = [{"type": "identify", "userId": "u1"}, {"type": "track", "userId": "u1", "event": "login"}]
    answer = client_with("events:write").post("/v1/batch", json={"batch": batch})
    assert [(one["index"], one["reason"]) for one in answer.json()["rejected"]] == [(0, "missing_scope")]
    assert len(rows(store, events)) == 1


@pytest.mark.parametrize("credentials", ["Basic", "Basic bm90aGluZw==", "Basic ~", "Basic w4Q6"])
def test_a_write_key_that_is_none_is_401(base_url: str, credentials: str) -> None:
    assert httpx.post(f"{base_url}/v1/batch", headers={"Authorization": credentials}).status_code == 401


def test_no_event_stays_behind_when_it_comes_in_while_its_id_is_merged(post: Post, store: Store) -> None:
    for round_ in range(5):
        name = f"a{round_}"
        with ThreadPoolExecutor(6) as threads:
            visits = [threads.submit(anonymous_visit, post, name) for _ in range(8)]
            merged = threads.submit(post, "identify", {"userId": f"u{round_}", "anonymousId": name})
            visits += [threads.submit(anonymous_visit, post, name) for _ in range(8)]
            sent(merged.result())
        assert [one.exception() for one in visits] == [None] * 16
    found = [row.user_id for row in rows(store, events)]
    assert sorted(found) == sorted(f"u{round_}" for round_ in range(5) for _ in range(16))
