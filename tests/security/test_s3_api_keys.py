"""S3: a key is shown once, stored as a hash, and tells a guesser nothing."""

import hashlib
import statistics
import time
from datetime import datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib import access, clock
from oracle_lib.errors import Invalid, NotFound, Unknown
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import api_keys
from tests.api.conftest import MakeClient, make_key
from tests.guarantees.receiver import Receiver, api


def test_a_hundred_keys_leave_no_secret_in_the_database(conn: Connection, now: datetime) -> None:
    keys = [access.create(conn, f"source {n}", ["events:write"], now) for n in range(100)]
    dump = str(conn.execute(sa.select(api_keys)).all())
    for made in keys:
        secret = made.key.split("_")[3]
        assert len(secret) >= 32
        assert secret not in dump
        stored = conn.scalar(sa.select(api_keys.c.secret_sha256).where(api_keys.c.id == made.id))
        assert stored == hashlib.sha256(secret.encode()).digest()
    assert len({made.key for made in keys}) == 100


def test_a_key_says_who_calls_and_for_what(conn: Connection, now: datetime) -> None:
    made = access.create(conn, "shop", ["events:read", "events:write"], now, environment="staging")
    caller = access.verify(conn, made.key, now)
    assert (caller.id, caller.source) == (made.id, "shop")
    assert made.key.startswith(f"ork_staging_{made.id}_")
    assert [caller.may(scope) for scope in ("events:write", "users:read")] == [True, False]
    assert access.verify(conn, access.create(conn, "ops", ["admin"], now).key, now).may("actions:approve")


def test_a_wrong_form_or_checksum_is_refused_without_the_database(conn: Connection, now: datetime) -> None:
    key = access.create(conn, "shop", ["events:write"], now).key
    swapped = key[:-9] + ("A" if key[-10] != "A" else "B") + key[-9:]
    asked: list[str] = []
    sa.event.listen(conn, "before_cursor_execute", lambda *args: asked.append(args[2]))
    for wrong in ("", "ork_", swapped, key[:-1], key + "0", key.upper(), key.replace("_", "-")):
        with pytest.raises(Unknown):
            access.verify(conn, wrong, now)
    assert asked == []


def test_an_unknown_id_and_a_wrong_secret_are_told_apart_by_nobody(conn: Connection, now: datetime) -> None:
    one, other = (access.create(conn, f"source {n}", ["events:write"], now).key for n in range(2))
    wrong_secret = _joined(one.split("_")[2], other.split("_")[3])
    unknown_id = _joined("00000000", one.split("_")[3])
    said, medians = set(), []
    for key in (wrong_secret, unknown_id):
        times = []
        for _ in range(300):
            start = time.perf_counter()
            with pytest.raises(Unknown) as refusal:
                access.verify(conn, key, now)
            times.append(time.perf_counter() - start)
        said.add(str(refusal.value))
        medians.append(statistics.median(times))
    assert len(said) == 1
    assert max(medians) / min(medians) < 1.5


def test_a_key_that_expired_or_was_revoked_opens_nothing(conn: Connection, now: datetime) -> None:
    made = access.create(conn, "shop", ["events:write"], now, expires_at=now + timedelta(days=1))
    assert access.verify(conn, made.key, now).id == made.id
    with pytest.raises(Unknown):
        access.verify(conn, made.key, now + timedelta(days=1))
    assert access.revoke(conn, made.id, now).revoked_at == now
    assert access.revoke(conn, made.id, now + timedelta(hours=1)).revoked_at == now
    with pytest.raises(Unknown):
        access.verify(conn, made.key, now)
    with pytest.raises(NotFound):
        access.revoke(conn, "nothere1", now)


def test_use_is_noted_at_most_once_a_minute(conn: Connection, now: datetime) -> None:
    made = access.create(conn, "shop", ["events:write"], now)
    for seconds in (0, 30, 61):
        access.verify(conn, made.key, now + timedelta(seconds=seconds))
    (info,) = access.listing(conn)
    assert info.last_used_at == now + timedelta(seconds=61)


@pytest.mark.parametrize("scopes", [[], ["events:delete"], ["admin", "root"]])
def test_a_scope_that_does_not_exist_is_refused(conn: Connection, now: datetime, scopes: list[str]) -> None:
    with pytest.raises(Invalid):
        access.create(conn, "shop", scopes, now)


def test_a_revoked_key_is_401_at_the_next_call_while_its_twin_still_works(
    client_with: MakeClient, store: Store
) -> None:
    first, second = client_with("users:read"), client_with("users:read")
    assert [one.get("/api/oracle/users/u1").status_code for one in (first, second)] == [404, 404]
    with store.transaction() as conn:
        access.revoke(conn, first.headers["Authorization"].split("_")[2], clock.now())
    assert [one.get("/api/oracle/users/u1").status_code for one in (first, second)] == [401, 404]


def test_a_revoked_key_is_401_within_five_seconds_on_two_processes_while_its_twin_still_works(store: Store) -> None:
    with store.transaction() as conn:
        revoked, twin = make_key(conn, "events:write"), make_key(conn, "events:write")
    processes = [Receiver(api, store.url) for _ in range(2)]
    event = {"userId": "u", "event": "login"}
    asked = [
        (f"{process.address}{path}", body)
        for process in processes
        for path, body in (("/api/oracle/events", event), ("/api/oracle/events/batch", [event]))
    ]

    def answers(client: httpx.Client, key: str) -> list[int]:
        return [client.post(url, json=body, headers={"X-API-Key": key}).status_code for url, body in asked]

    try:
        with httpx.Client(timeout=10) as client:
            assert answers(client, revoked) == answers(client, twin) == [202] * 4
            with store.transaction() as conn:
                access.revoke(conn, revoked.split("_")[2], clock.now())
            done = time.monotonic()
            # Asked all the time, as a busy sender does, lest a remembered key be served for ever.
            while (seen := answers(client, revoked)) != [401] * 4:
                assert time.monotonic() - done < 5, seen
                time.sleep(0.05)
            print(f"401 everywhere {time.monotonic() - done:.1f} s after the key was revoked")
            assert time.monotonic() - done < 5
            assert answers(client, revoked) == [401] * 4
            assert answers(client, twin) == [202] * 4
    finally:
        for process in processes:
            process.kill()


def test_a_key_comes_in_either_header_and_never_in_the_address(client_with: MakeClient) -> None:
    client = client_with("users:read")
    key = client.headers.pop("Authorization").removeprefix("Bearer ")
    path = "/api/oracle/users/u1"
    tried: list[dict[str, dict[str, str]]] = [
        {"headers": {"X-API-Key": key}},
        {"headers": {"Authorization": f"bearer {key}"}},
        {"headers": {"Authorization": f"Basic {key}"}},
        {"params": {"api_key": key}},
    ]
    answers: list[httpx.Response] = [client.get(path, **how) for how in tried]
    assert [one.status_code for one in answers] == [404, 404, 401, 401]
    assert answers[3].headers["WWW-Authenticate"] == "Bearer"


def _joined(key_id: str, secret: str) -> str:
    body = f"ork_production_{key_id}_{secret}"
    return f"{body}_{access._checksum(body)}"
