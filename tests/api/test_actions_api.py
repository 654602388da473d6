"""Actions over HTTP: proposed, answered, sent and told, each compared with the tables."""

from datetime import datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib.decide import definition, rules_engine
from oracle_lib.execute import approvals
from oracle_lib.execute.approvals import Draft
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, messages, users
from tests.api.conftest import MakeClient, make_key, serving

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
        ({"topic": "x" * 61}, "topic"),
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


def test_many_answers_are_given_at_once_with_a_result_each(api: httpx.Client, store: Store) -> None:
    shown = [propose(api) for _ in range(3)]
    api.patch(f"{PATH}/{shown[1]['id']}", json={"status": "rejected"})
    nobody = "00000000-0000-7000-8000-000000000000"
    items = [{"id": one["id"], "version": 1, "contentHash": one["contentHash"]} for one in shown] + [{"id": nobody}]
    told = api.post(f"{PATH}/answers", json={"status": "approved", "undoable": True, "items": items}).json()
    results = [(one["id"], one["result"], (one["current"] or {}).get("status")) for one in told["results"]]
    ids = [one["id"] for one in shown]
    words = [("moved", "approved"), ("conflict", "rejected"), ("moved", "approved"), ("not_found", None)]
    assert results == [(action_id, *word) for action_id, word in zip([*ids, nobody], words, strict=True)]
    assert told["moved"] == 2
    stands = row(store, ids[0])
    assert (stands.undo_until - stands.approved_at).total_seconds() == 30
    assert api.get(f"{PATH}/{ids[0]}").json()["undoUntil"] is not None
    assert api.post("/api/oracle/execute", json={"actionId": ids[0]}).status_code == 409
    assert api.post("/api/oracle/execute", json={}).json()["report"]["executed"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [{"id": "00000000-0000-7000-8000-000000000000"}] * 2}, "items"),
        ({"items": [{"id": f"00000000-0000-7000-8000-{n:012}"} for n in range(501)]}, "items"),
        ({"items": [{"id": "00000000-0000-7000-8000-000000000000"}], "reason": " "}, "reason"),
    ],
)
def test_answers_that_make_no_sense_are_refused_as_a_whole(
    api: httpx.Client, body: dict[str, object], field: str
) -> None:
    answer = api.post(f"{PATH}/answers", json={"status": "rejected", **body})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


def lost(api: httpx.Client, store: Store) -> str:
    """Propose, approve and lose an action: nobody knows whether it arrived."""
    made: str = propose(api)["id"]
    api.patch(f"{PATH}/{made}", json={"status": "approved"})
    tried = {"status": "executing", "attempts": 1, "first_attempt_at": sa.func.now()}
    with store.transaction() as conn:
        for values in (tried, {"status": "unknown"}):
            conn.execute(sa.update(actions).where(actions.c.id == made).values(values))
    return made


def test_a_person_settles_what_nobody_knows_and_says_how_they_know(api: httpx.Client, store: Store) -> None:
    action_id = lost(api, store)
    path = f"{PATH}/{action_id}/settlement"
    assert api.patch(f"{PATH}/{action_id}", json={"status": "executed"}).status_code == 409
    for field, body in (
        ("note", {"became": "executed"}),
        ("became", {"became": "cancelled", "note": "Asked her."}),
        ("mayArriveTwice", {"became": "approved", "note": "Asked her."}),
    ):
        answer = api.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    stale = api.post(path, json={"became": "executed", "note": "Asked her.", "version": 2})
    assert (stale.status_code, stale.json()["error"]["current"]["status"]) == (409, "unknown")
    body = {"became": "executed", "note": "Asked her.", "version": 1}
    told = api.post(path, json=body)
    assert (told.status_code, told.json()["status"], told.json()["reason"]) == (200, "executed", "Asked her.")
    assert (row(store, action_id).channel, row(store, action_id).executed_at is None) == (None, False)
    assert api.post(path, json=body).status_code == 409


def test_many_are_settled_alike_and_what_is_tried_again_goes_out_once_more(api: httpx.Client, store: Store) -> None:
    ids = [lost(api, store) for _ in range(2)]
    waits = propose(api)["id"]
    body = {"became": "approved", "note": "The mail server lost them.", "items": [{"id": one} for one in (*ids, waits)]}
    assert api.post(f"{PATH}/settlements", json=body).json()["error"]["field"] == "mayArriveTwice"
    twice = {**body, "mayArriveTwice": True, "items": body["items"] * 2}
    assert api.post(f"{PATH}/settlements", json=twice).json()["error"]["field"] == "items"
    told = api.post(f"{PATH}/settlements", json={**body, "mayArriveTwice": True}).json()
    assert told["moved"] == 2
    assert [one["result"] for one in told["results"]] == ["moved", "moved", "conflict"]
    assert api.post("/api/oracle/execute", json={}).json()["report"]["executed"] == 2


def test_an_edit_shows_both_versions_and_who_wrote_them(api: httpx.Client) -> None:
    made = propose(api)
    seen = {"version": 1, "contentHash": made["contentHash"]}
    words = {"subject": "Hello again", "content": "Better words."}
    edited = api.put(f"{PATH}/{made['id']}/words", json={**words, **seen})
    assert (edited.status_code, edited.json()["version"], edited.json()["status"]) == (200, 2, "pending")
    assert api.put(f"{PATH}/{made['id']}/words", json={**words, **seen}).status_code == 409
    told = api.get(f"{PATH}/{made['id']}/versions").json()["versions"]
    assert [(one["version"], one["subject"], one["content"]) for one in told] == [
        (2, "Hello again", "Better words."),
        (1, "Hello", EMAIL["content"]),
    ]
    assert {one["writtenBy"][:4] for one in told} == {"key:"}


def test_a_preview_is_the_message_as_it_would_arrive_and_its_link_unsubscribes_nobody(
    store: Store, database_url: str
) -> None:
    settings = Settings(
        database_url=database_url,
        environment="test",
        email_sender="Academy",
        email_address="hello@academy.example",
        postal_address="1 Main Street",
        public_url="https://oracle.academy.example",
    )
    with store.transaction() as conn:
        conn.execute(sa.insert(users), [{"id": "u1", "email": "u1@example.org"}, {"id": "u2", "email": None}])
        key = make_key(conn, "admin")
    with serving(store, settings) as address:
        client = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        hostile = propose(client, content="Good <script>alert(1)</script> day.\n\nGo on.")
        told = client.get(f"{PATH}/{hostile['id']}/preview")
        lost = propose(client, userId="u2")
        dm = propose(client, actionType="dm", subject=None)
        problem = client.get(f"{PATH}/{lost['id']}/preview").json()["problem"]
        plain = client.get(f"{PATH}/{dm['id']}/preview").json()
        client.close()
    letter = told.json()
    assert (letter["to"], letter["sender"]) == ("u1@example.org", '"Academy" <hello@academy.example>')
    assert letter["preheader"].startswith("Good <script>alert(1)</script> day. Go on.")
    assert letter["text"].endswith("1 Main Street\nUnsubscribe: https://oracle.academy.example/unsubscribe/example")
    assert "<script" not in letter["html"]
    assert told.headers["content-type"] == "application/json"
    assert problem == "no_address"
    assert (plain["sender"], plain["text"], plain["html"]) == ("Coach Sarah", EMAIL["content"], None)


def test_a_group_is_listed_and_edited_for_all_its_recipients(api: httpx.Client, store: Store, now: datetime) -> None:
    body = {
        "name": "come back",
        "trigger": "time_based",
        "conditions": {"days_since": {"event": "activity", "op": ">=", "value": 7}},
        "actionType": "dm",
        "holdout": 0,
        "actionData": {"content": "Hi"},
    }
    with store.transaction() as conn:
        rule = rules_engine.create(conn, definition.read(body), actor="anna", now=now)
        draft = Draft("u1", "dm", "Hi", triggered_by="come back")
        made = approvals.create(conn, draft, actor="oracle", now=now)
        change = {"rule_id": rule.id, "rule_version": 1, "cause": "x"}
        conn.execute(sa.update(actions).where(actions.c.id == made.id).values(change))
    (group,) = api.get(f"{PATH}/groups").json()["groups"]
    assert (group["ruleName"], group["count"], group["sample"]["id"]) == ("come back", 1, str(made.id))
    told = api.post(f"{PATH}/group-edits", json={"key": group["key"], "content": "Back?"})
    assert told.status_code == 201
    assert [(one["id"], one["result"], one["version"]) for one in told.json()["recipients"]] == [
        (str(made.id), "edited", 2)
    ]
    assert api.post(f"{PATH}/group-edits", json={"key": group["key"], "content": "Back?"}).status_code == 409
    wrong = api.post(f"{PATH}/group-edits", json={"key": group["key"], "content": "{{ nickname }}"})
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "content")
