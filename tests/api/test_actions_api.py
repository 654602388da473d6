"""Actions over HTTP: proposed, answered, sent and told, each compared with the tables."""

from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, messages, users
from tests.api.conftest import MakeClient

EMAIL = {"userId": "u1", "actionType": "email", "subject": "Hello", "content": "Good to have you.", "priority": 7}
PATH = "/api/oracle/actions"


@pytest.fixture
def api(client: httpx.Client, store: Store) -> httpx.Client:
    with store.transaction() as conn:
        conn.execute(sa.insert(users), [{"id": "u1", "email": "u1@example.org"}, {"id": "u2", "email": None}])
    return client


def propose(api: httpx.Client, **fields: object) -> dict[str, Any]:
    answer = api.post(PATH, json={**EMAIL, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def row(store: Store, action_id: str) -> sa.Row:
    with store.transaction() as conn:
        return conn.execute(sa.select(actions).where(actions.c.id == action_id)).one()


def history(store: Store, action_id: str) -> list[tuple[str, str | None]]:
    with store.transaction() as conn:
        moves = sa.select(action_changes).where(action_changes.c.action_id == action_id).order_by(action_changes.c.id)
        return [(one.new_status, one.shown_hash) for one in conn.execute(moves)]


def test_a_proposed_action_is_pending_and_reads_back_as_it_stands(api: httpx.Client, store: Store) -> None:
    made = propose(api)
    stands = row(store, made["id"])
    assert (stands.status, stands.user_id, stands.priority, stands.triggered_by) == ("pending", "u1", 7, "manual")
    assert (made["contentHash"], made["version"]) == (stands.content_hash, 1)
    assert made["outcome"] == dict.fromkeys(("opened", "clicked", "replied", "converted", "bounced", "complained"))
    assert stands.expires_at is not None
    assert api.get(f"{PATH}/{made['id']}").json() == made
    specified = {"userId", "actionType", "status", "priority", "template", "subject", "content", "metadata"}
    specified |= {"triggeredBy", "triggerData", "scheduledAt", "executedAt", "outcome", "createdAt", "updatedAt", "id"}
    assert specified <= set(made)


def test_pages_are_filtered_and_meet_every_action_once(api: httpx.Client, store: Store) -> None:
    for n in range(7):
        propose(api, userId="u2" if n % 2 else "u1", actionType="dm" if n < 3 else "email")
    seen: list[str] = []
    cursor = None
    while True:
        page = api.get(PATH, params={"limit": "3"} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["id"] for one in page["actions"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    with store.transaction() as conn:
        stored = [str(one) for one in conn.execute(sa.select(actions.c.id).order_by(actions.c.id.desc())).scalars()]
    assert seen == stored
    chosen = api.get(PATH, params={"status": "pending", "userId": "u2", "actionType": "dm"}).json()["actions"]
    assert [(one["userId"], one["actionType"]) for one in chosen] == [("u2", "dm")]
    assert api.get(PATH, params={"status": "executed"}).json()["actions"] == []


def test_an_answer_with_only_a_status_is_given_to_what_is_current_and_the_history_says_none_was_shown(
    api: httpx.Client, store: Store
) -> None:
    made = propose(api)
    told = api.patch(f"{PATH}/{made['id']}", json={"status": "approved"})
    assert (told.status_code, told.json()["status"]) == (200, "approved")
    stands = row(store, made["id"])
    assert (stands.status, stands.approved_hash) == ("approved", made["contentHash"])
    assert stands.approved_by.startswith("key:")
    assert history(store, made["id"])[-1] == ("approved", None)


def test_an_answer_to_what_is_no_longer_there_is_409_with_what_is(api: httpx.Client, store: Store) -> None:
    made = propose(api)
    path = f"{PATH}/{made['id']}"
    for stale in ({"version": 2}, {"contentHash": "something else"}):
        answer = api.patch(path, json={"status": "approved", **stale})
        assert answer.status_code == 409
        assert answer.json()["error"]["current"]["contentHash"] == made["contentHash"]
    seen = {"version": made["version"], "contentHash": made["contentHash"]}
    assert api.patch(path, json={"status": "rejected", "reason": "not now", **seen}).status_code == 200
    assert api.patch(path, json={"status": "approved"}).json()["error"]["current"]["status"] == "rejected"
    assert history(store, made["id"]) == [("pending", None), ("rejected", made["contentHash"])]


def test_an_approval_can_be_undone_and_cancelled_and_work_done_by_hand_is_recorded(
    api: httpx.Client, store: Store
) -> None:
    made = propose(api)
    for status in ("approved", "pending", "approved", "cancelled"):
        assert api.patch(f"{PATH}/{made['id']}", json={"status": status}).json()["status"] == status
    by_hand = propose(api)
    api.patch(f"{PATH}/{by_hand['id']}", json={"status": "executed", "reason": "Called her."})
    assert (row(store, by_hand["id"]).status, row(store, by_hand["id"]).channel) == ("executed", "hand")


def test_only_an_approved_action_is_executed_and_it_is_delivered_once(api: httpx.Client, store: Store) -> None:
    made = propose(api)
    body = {"actionId": made["id"]}
    early = api.post("/api/oracle/execute", json=body)
    assert (early.status_code, early.json()["error"]["current"]["status"]) == (409, "pending")
    api.patch(f"{PATH}/{made['id']}", json={"status": "approved"})
    done = api.post("/api/oracle/execute", json=body)
    assert (done.status_code, done.json()["action"]["status"]) == (200, "executed")
    assert api.post("/api/oracle/execute", json=body).status_code == 409
    with store.transaction() as conn:
        kept = conn.execute(sa.select(messages.c.action_id, messages.c.content)).all()
    assert [(str(one.action_id), one.content) for one in kept] == [(made["id"], EMAIL["content"])]


def test_everything_due_is_executed_at_once_and_the_report_counts_it(api: httpx.Client, store: Store) -> None:
    ids = [propose(api, actionType="alert")["id"] for _ in range(2)]
    waits = propose(api, actionType="alert")["id"]
    for action_id in ids:
        api.patch(f"{PATH}/{action_id}", json={"status": "approved"})
    told = api.post("/api/oracle/execute", json={}).json()["report"]
    statuses = [row(store, action_id).status for action_id in ids]
    assert told["executed"] == statuses.count("executed")
    assert told["executed"] + told["skipped"] == 2
    assert row(store, waits).status == "pending"


def test_the_lineage_reads_from_proposal_to_delivery(api: httpx.Client) -> None:
    made = propose(api)
    api.patch(f"{PATH}/{made['id']}", json={"status": "approved"})
    api.post("/api/oracle/execute", json={"actionId": made["id"]})
    told = api.get(f"{PATH}/{made['id']}/lineage").json()
    kinds = [step["kind"] for step in told["steps"]]
    assert (told["actionId"], told["status"]) == (made["id"], "executed")
    assert [kinds[0], *sorted(set(kinds[1:]))] == ["proposal", "approval", "delivery"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"userId": ""}, "userId"),
        ({"actionType": "fax"}, "actionType"),
        ({"priority": 11}, "priority"),
        ({"content": ""}, "content"),
        ({"subject": "a\r\nBcc: b@c.org"}, "subject"),
        ({"scheduledAt": "2026-01-01T00:00:00"}, "scheduledAt"),
        ({"status": "approved"}, "status"),
        ({"approvedBy": "me"}, "approvedBy"),
    ],
)
def test_a_bad_field_is_refused_by_name(api: httpx.Client, fields: dict[str, object], field: str) -> None:
    answer = api.post(PATH, json={**EMAIL, **fields})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


def test_unknown_ids_are_404_and_words_that_are_none_422(api: httpx.Client) -> None:
    nobody = "00000000-0000-7000-8000-000000000000"
    assert api.get(f"{PATH}/{nobody}").status_code == 404
    assert api.get(f"{PATH}/{nobody}/lineage").status_code == 404
    assert api.patch(f"{PATH}/{nobody}", json={"status": "approved"}).status_code == 404
    assert api.post("/api/oracle/execute", json={"actionId": nobody}).status_code == 404
    assert api.post(PATH, json={**EMAIL, "userId": "nobody"}).status_code == 404
    assert api.get(f"{PATH}/5").status_code == 422
    assert api.get(PATH, params={"status": "sent"}).json()["error"]["field"] == "status"
    assert api.get(PATH, params={"cursor": "5"}).json()["error"]["field"] == "cursor"
    assert api.patch(f"{PATH}/{nobody}", json={"status": "executing"}).json()["error"]["field"] == "status"


def test_who_may_propose_may_not_approve(client_with: MakeClient, api: httpx.Client) -> None:
    made = propose(client_with("actions:write"))
    answer = client_with("actions:write", "actions:read").patch(f"{PATH}/{made['id']}", json={"status": "approved"})
    assert answer.status_code == 403
    assert api.get(f"{PATH}/{made['id']}").json()["status"] == "pending"
