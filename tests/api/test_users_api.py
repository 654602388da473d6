"""Profiles over HTTP: what is answered is what stands in the tables, and every change is kept."""

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import dirty_users, profile_changes, users

ADA = {
    "email": "ada@example.org",
    "firstName": "Ada",
    "lastName": "Lovelace",
    "timeZone": "Europe/London",
    "locale": "en-GB",
    "joinedAt": "2026-01-05T10:00:00+01:00",
    "traits": {"goal": "certificate", "level": 3},
    "consent": {"email": True, "push": False},
}


def changes(store: Store) -> list[tuple[str, object, object]]:
    with store.transaction() as conn:
        rows = conn.execute(sa.select(profile_changes).order_by(profile_changes.c.id)).all()
    return [(row.field, row.old, row.new) for row in rows]


def test_a_profile_is_made_and_reads_back_as_it_stands_in_the_table(client: httpx.Client, store: Store) -> None:
    put = client.put("/api/oracle/users/u1", json=ADA)
    assert put.status_code == 200
    with store.transaction() as conn:
        row = conn.execute(sa.select(users)).one()
        queued = conn.execute(sa.select(dirty_users.c.stage, dirty_users.c.user_id)).all()
    assert (row.id, row.email, row.first_name, row.time_zone) == ("u1", "ada@example.org", "Ada", "Europe/London")
    assert (row.traits, row.consent) == (ADA["traits"], ADA["consent"])
    assert row.joined_at.isoformat() == "2026-01-05T09:00:00+00:00"
    assert queued == [("activity", "u1")]
    got = client.get("/api/oracle/users/u1").json()
    assert got == put.json()
    assert got["joinedAt"] == "2026-01-05T09:00:00Z"
    assert {name: got[name] for name in ("email", "lastName", "traits", "consent")} == {
        name: ADA[name] for name in ("email", "lastName", "traits", "consent")
    }


def test_what_is_not_named_stays_and_null_forgets_and_each_change_is_kept(client: httpx.Client, store: Store) -> None:
    client.put("/api/oracle/users/u1", json=ADA)
    before = len(changes(store))
    change = {"email": None, "traits": {"level": 4, "goal": None}, "consent": {"push": True}}
    told = client.put("/api/oracle/users/u1", json=change).json()
    assert (told["email"], told["firstName"]) == (None, "Ada")
    assert (told["traits"], told["consent"]) == ({"level": 4}, {"email": True, "push": True})
    assert changes(store)[before:] == [
        ("email", "ada@example.org", None),
        ("traits.goal", "certificate", None),
        ("traits.level", 3, 4),
        ("consent.push", False, True),
    ]


def test_the_same_put_twice_writes_nothing_the_second_time(client: httpx.Client, store: Store) -> None:
    first = client.put("/api/oracle/users/u1", json=ADA).json()
    before = changes(store)
    assert client.put("/api/oracle/users/u1", json=ADA).json() == first
    assert changes(store) == before


def test_an_unknown_user_is_404(client: httpx.Client) -> None:
    assert client.get("/api/oracle/users/nobody").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "not an address"}, "email"),
        ({"email": "a@b.org\r\nBcc: c@d.org"}, "email"),
        ({"firstName": "Eve\r\nBcc: c@d.org"}, "firstName"),
        ({"firstName": 5}, "firstName"),
        ({"timeZone": "Mars/Olympus"}, "timeZone"),
        ({"locale": "english please"}, "locale"),
        ({"joinedAt": "2026-01-05T10:00:00"}, "joinedAt"),
        ({"joinedAt": "0001-01-01T00:00:00+14:00"}, "joinedAt"),
        ({"traits": {"a": "b\x00"}}, "traits"),
        ({"traits": {"a" * 3: {str(n): n for n in range(300)}}}, "traits"),
        ({"consent": {"pigeon": True}}, "consent"),
        ({"consent": {"email": "yes"}}, "consent.email"),
        ({"isTest": None}, "isTest"),
        ({"baselineAt": "2026-01-05T10:00:00Z"}, "baselineAt"),
        ({"createdAt": "2026-01-05T10:00:00Z"}, "createdAt"),
    ],
)
def test_a_bad_field_is_refused_by_name_and_nothing_is_stored(
    client: httpx.Client, store: Store, body: dict[str, object], field: str
) -> None:
    answer = client.put("/api/oracle/users/u1", json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    with store.transaction() as conn:
        assert conn.execute(sa.select(users.c.id)).all() == []


def test_a_number_that_is_none_is_refused(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    for text in (b'{"traits": {"a": NaN}}', b'{"traits": {"a": 1e400}}'):
        answer = client.put("/api/oracle/users/u1", content=text, headers=headers)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "traits")
