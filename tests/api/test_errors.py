"""What is answered when something is wrong: never a 2xx for what was not stored, never our inner words."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from oracle_api.headers import ALWAYS
from oracle_lib.settings import Settings
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.migrate import migrate
from oracle_lib.storage.tables import events, rejected_events
from tests.api.conftest import make_key, serving

EVENT = {"userId": "u1", "event": "login"}


@pytest.mark.parametrize("path", ["/api/oracle/events", "/api/oracle/events/batch"])
def test_a_database_that_is_gone_is_503_and_comes_back_by_itself(home: Path, path: str) -> None:
    server = EmbeddedServer(home / "pg", config={"shared_buffers": "32MB", "fsync": "off"})
    server.start()
    store = Store(server.ensure_database("oracle"))
    try:
        with store.transaction() as conn:
            migrate(conn)
            key = make_key(conn, "admin")
        body = json.dumps([EVENT] if path.endswith("batch") else EVENT).encode()
        with (
            serving(store, Settings(environment="test")) as address,
            httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=30) as client,
        ):
            assert client.post(path, content=body).status_code == 202
            server.stop("immediate")
            gone = [client.post(path, content=body), client.get("/api/oracle/users/u1"), client.get("/readyz")]
            assert client.get("/healthz").status_code == 200
            server.start()
            back = client.post(path, content=body)
        assert [one.status_code for one in gone] == [503] * 3
        assert [one.json()["error"]["code"] for one in gone] == ["database_unavailable"] * 3
        assert all(int(one.headers["Retry-After"]) >= 1 for one in gone)
        assert back.status_code == 202
        with store.transaction() as conn:
            assert conn.scalar(sa.select(sa.func.count()).select_from(events)) == 2
    finally:
        store.close()
        server.stop("immediate")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/oracle/events", b'{"userId": '),
        ("POST", "/api/oracle/events/batch", b"nonsense"),
        ("PUT", "/api/oracle/users/u1", b'{"email": '),
        ("PUT", "/api/oracle/courses/c1", b"[" * 5000),
    ],
)
def test_malformed_json_is_a_4xx_in_the_one_form(client: httpx.Client, method: str, path: str, body: bytes) -> None:
    answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] == "malformed_json"


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65536


def test_a_body_over_a_megabyte_is_cut_while_it_streams(client: httpx.Client, store: Store) -> None:
    try:
        status = client.post("/api/oracle/events/batch", content=endless()).status_code
    except httpx.WriteError:
        status = 413  # the server hung up before it had read our whole body, which has no end
    assert status == 413
    with store.transaction() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(rejected_events)) == 0


def test_a_small_body_that_inflates_over_a_megabyte_is_refused(client: httpx.Client) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    answer = client.post("/api/oracle/events/batch", content=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b"[]")[:-4]], ids=["not gzip", "cut short"])
def test_a_body_that_is_not_what_its_encoding_says_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/api/oracle/events/batch", content=body, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_encoding")


def test_more_events_than_a_batch_may_have_are_refused(client: httpx.Client) -> None:
    answer = client.post("/api/oracle/events/batch", json=[EVENT] * 2501)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many")


def test_a_parameter_that_is_given_twice_or_is_no_time_is_refused_by_name(client: httpx.Client) -> None:
    for asked, field in (("userId=u1&userId=u2", "userId"), ("since=1730000000", "since")):
        answer = client.get(f"/api/oracle/events?{asked}")
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


def test_a_method_that_is_not_served_is_answered_with_those_that_are(client: httpx.Client) -> None:
    answer = client.post("/api/oracle/tracking-plan/login")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, PUT")


def test_an_unforeseen_error_says_nothing_but_a_reference(client: httpx.Client, store: Store) -> None:
    with store.transaction() as conn:
        conn.exec_driver_sql("ALTER TABLE oracle.users RENAME TO users_elsewhere")
    answer = client.get("/api/oracle/users/u1")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["code"], len(error["reference"])) == ("internal", 12)
    assert "users" not in answer.text


def test_every_answer_carries_the_headers_that_protect_a_browser(client: httpx.Client, store: Store) -> None:
    answers = [
        client.get("/healthz"),
        client.get("/healthz", headers={"Host": "evil.example"}),
        client.get("/api/oracle/users/u1", headers={"Authorization": "Bearer wrong"}),
        client.get("/api/oracle/users/u1"),
        client.get("/nowhere"),
        client.delete("/healthz"),
        client.put("/api/oracle/users/u1", json={"email": 5}),
        client.post("/api/oracle/events/batch", json=[EVENT] * 2501),
    ]
    with store.transaction() as conn:
        conn.exec_driver_sql("ALTER TABLE oracle.users RENAME TO users_elsewhere")
    answers.append(client.get("/api/oracle/users/u1"))
    assert [one.status_code for one in answers] == [200, 400, 401, 404, 404, 405, 422, 413, 500]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not any("access-control-allow-origin" in answer.headers for answer in answers)
