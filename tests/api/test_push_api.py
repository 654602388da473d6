"""A product's backend hands a browser's subscription on: kept as it is, once, and only what can be used."""

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import push_subscriptions, users
from tests.providers.push import Browser, base64url, from_base64url

DEVICES = "/api/oracle/users/u1/push-subscriptions"
BROWSER = Browser("abc")
SUBSCRIPTION = BROWSER.subscription("https://fcm.googleapis.com")


@pytest.fixture(autouse=True)
def people(store: Store) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users), [{"id": "u1"}, {"id": "u2"}])


def kept(store: Store) -> list[sa.Row]:
    with store.transaction() as conn:
        return list(conn.execute(sa.select(push_subscriptions)))


def test_the_public_key_is_a_point_and_stays_the_same(client: httpx.Client) -> None:
    first, second = (client.get("/api/oracle/push/key").json()["publicKey"] for _ in range(2))
    assert first == second
    assert (len(from_base64url(first)), from_base64url(first)[0]) == (65, 4)


def test_a_subscription_is_kept_as_the_browser_made_it_and_once(client: httpx.Client, store: Store) -> None:
    answers = [client.post(DEVICES, json={**SUBSCRIPTION, "somethingNew": 1}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    [row] = kept(store)
    assert (row.user_id, row.endpoint, row.expires_at) == ("u1", SUBSCRIPTION["endpoint"], None)
    keys: dict[str, str] = SUBSCRIPTION["keys"]  # type: ignore[assignment]
    assert (base64url(row.p256dh), base64url(row.auth)) == (keys["p256dh"], keys["auth"])


def test_padded_keys_and_an_end_are_understood(client: httpx.Client, store: Store) -> None:
    keys: dict[str, str] = SUBSCRIPTION["keys"]  # type: ignore[assignment]
    padded = {name: key + "=" * (-len(key) % 4) for name, key in keys.items()}
    ends = {**SUBSCRIPTION, "keys": padded, "expirationTime": 1_900_000_000_000}
    assert client.post(DEVICES, json=ends).status_code == 200
    [row] = kept(store)
    assert row.expires_at.timestamp() == 1_900_000_000
    assert bytes(row.auth) == BROWSER.auth


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"endpoint": "https://attacker.example/x"}, "endpoint"),
        ({"endpoint": 5}, "endpoint"),
        ({"keys": {"p256dh": "BA", "auth": base64url(bytes(16))}}, "keys.p256dh"),
        ({"keys": {}}, "keys.p256dh"),
        ({"keys": None}, "keys"),
        ({"expirationTime": 1e300}, "expirationTime"),
        ({"expirationTime": -1}, "expirationTime"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    client: httpx.Client, store: Store, change: dict[str, object], field: str
) -> None:
    answer = client.post(DEVICES, json={**SUBSCRIPTION, **change})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert kept(store) == []


def test_an_unknown_user_has_no_browser(client: httpx.Client, store: Store) -> None:
    assert client.post("/api/oracle/users/nobody/push-subscriptions", json=SUBSCRIPTION).status_code == 404
    assert kept(store) == []


def test_a_browser_is_forgotten_by_its_user_only_and_as_often_as_asked(client: httpx.Client, store: Store) -> None:
    client.post(DEVICES, json=SUBSCRIPTION)
    which = {"endpoint": str(SUBSCRIPTION["endpoint"])}
    assert client.delete("/api/oracle/users/u2/push-subscriptions", params=which).status_code == 204
    assert len(kept(store)) == 1
    assert [client.delete(DEVICES, params=which).status_code for _ in range(2)] == [204, 204]
    assert kept(store) == []
