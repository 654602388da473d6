"""Many actions named by a filter, over HTTP: looked at, then answered as they were seen."""

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import users

PATH = "/api/oracle/actions"


@pytest.fixture(autouse=True)
def people(store: Store) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users), [{"id": "u1"}, {"id": "u2"}])


def propose(client: httpx.Client, user: str = "u1", content: str = "Hi") -> str:
    answer = client.post(PATH, json={"userId": user, "actionType": "dm", "content": content})
    made: str = answer.json()["id"]
    return made


def answer(client: httpx.Client, seen: dict[str, object], **fields: object) -> httpx.Response:
    body = {"status": "approved", "filter": {}, "count": seen["count"], "digest": seen["digest"], **fields}
    return client.post(f"{PATH}/selection/answer", json=body)


def test_exactly_what_was_seen_is_approved(client: httpx.Client) -> None:
    ids = sorted(propose(client, "u1") for _ in range(3))
    other = propose(client, "u2")
    seen = client.get(f"{PATH}/selection", params={"userId": "u1"}).json()
    assert [one["id"] for one in seen["items"]] == ids
    told = answer(client, seen, filter={"userId": "u1"})
    assert (told.status_code, told.json()) == (200, {"moved": 3})
    for one in client.get(PATH).json()["actions"]:
        assert one["status"] == ("pending" if one["id"] == other else "approved")
    again = answer(client, seen, filter={"userId": "u1"})
    assert (again.status_code, again.json()["error"]["current"]["count"]) == (409, 0)


def test_what_came_in_since_stops_the_answer_and_is_told(client: httpx.Client) -> None:
    propose(client)
    seen = client.get(f"{PATH}/selection").json()
    late = propose(client, content="Nobody saw this.")
    told = answer(client, seen)
    assert told.status_code == 409
    current = told.json()["error"]["current"]
    new = {one["id"] for one in current["items"]} - {one["id"] for one in seen["items"]}
    assert (current["count"], new) == (2, {late})
    assert {one["status"] for one in client.get(PATH).json()["actions"]} == {"pending"}
    assert answer(client, current).json() == {"moved": 2}


def test_a_count_that_is_not_the_digests_moves_nothing(client: httpx.Client) -> None:
    propose(client)
    seen = client.get(f"{PATH}/selection").json()
    told = answer(client, seen, count=2)
    assert (told.status_code, told.json()["error"]["field"]) == (422, "count")
    assert client.get(PATH).json()["actions"][0]["status"] == "pending"


@pytest.mark.parametrize(
    "fields", [{"digest": "x"}, {"filter": {"status": "executed"}}, {"filter": {"topic": "x"}}, {"status": "sent"}]
)
def test_what_cannot_be_meant_is_refused(client: httpx.Client, fields: dict[str, object]) -> None:
    seen = client.get(f"{PATH}/selection").json()
    assert answer(client, seen, **fields).status_code == 422


@pytest.mark.parametrize("query", ["status=executed", "actionType=fax", "topic=x", "ruleId=1"])
def test_a_filter_that_the_selection_does_not_know_is_refused(client: httpx.Client, query: str) -> None:
    assert client.get(f"{PATH}/selection?{query}").status_code == 422


def test_the_list_takes_the_same_filters(client: httpx.Client) -> None:
    propose(client)
    for query, count in (("messageClass=marketing", 1), ("messageClass=transactional", 0), ("engagementLevel=new", 0)):
        assert len(client.get(f"{PATH}?{query}").json()["actions"]) == count
