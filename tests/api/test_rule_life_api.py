"""The life of a rule over HTTP: draft, publish, compare, go back, pause, count, delete; compared with the tables."""

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.decide import content
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, rule_versions, rules, skips

RULES = "/api/oracle/rules"
RULE_OF_NOBODY = "00000000-0000-7000-8000-000000000000"
RULE = {
    "name": "Keep going",
    "trigger": "event_based",
    "conditions": {"event": "lesson_complete", "within_days": 7, "count": {"op": ">=", "value": 3}},
    "actionType": "dm",
    "actionData": {"content": "Three lessons this week."},
}


@pytest.fixture
def path(client: httpx.Client) -> str:
    """The address of a published rule."""
    return f"{RULES}/{client.post(RULES, json=RULE).json()['id']}"


def test_a_rule_begins_as_a_draft_and_is_published_when_nothing_is_wrong(client: httpx.Client, store: Store) -> None:
    begun = client.post(f"{RULES}/drafts", json={"name": "Keep going"})
    assert begun.status_code == 201
    told = begun.json()
    assert (told["version"], told["name"], told["isActive"], told["conditions"]) == (0, "Keep going", False, None)
    assert told["draft"]["problem"]["field"] == "actionType"
    assert client.get(RULES).json() == {"rules": [told]}
    path = f"{RULES}/{told['id']}"
    refused = client.post(f"{path}/publish", json={"seenVersion": 0})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "actionType")
    saved = client.put(f"{path}/draft", json=RULE)
    assert (saved.status_code, saved.json()["draft"]["problem"], saved.json()["draft"]["body"]) == (200, None, RULE)
    published = client.post(f"{path}/publish", json={"seenVersion": 0}).json()
    assert (published["version"], published["draft"], published["isActive"]) == (1, None, True)
    assert client.get(path).json() == published
    with store.transaction() as conn:
        kept = conn.execute(sa.select(rule_versions.c.version, rule_versions.c.published_by)).all()
    assert kept == [(1, published["publishedBy"])]
    assert published["publishedBy"].startswith("key:")


def test_a_draft_stands_beside_the_version_and_is_published_over_what_was_seen(client: httpx.Client, path: str) -> None:
    wrong = client.put(f"{path}/draft", json={**RULE, "conditions": {"all": [{"event": "login"}, {"segment": "x"}]}})
    assert (wrong.status_code, wrong.json()["draft"]["problem"]["field"]) == (200, "conditions.all[1].segment")
    assert wrong.json()["conditions"] == client.get(path).json()["conditions"]
    client.put(f"{path}/draft", json={**RULE, "priority": 8})
    client.put(path, json={**RULE, "priority": 2})
    stale = client.post(f"{path}/publish", json={"seenVersion": 1})
    assert (stale.status_code, stale.json()["error"]["current"]["priority"]) == (409, 2)
    assert client.post(f"{path}/publish", json={"seenVersion": 2}).json()["priority"] == 8
    assert client.post(f"{path}/publish", json={"seenVersion": 3}).status_code == 409
    client.put(f"{path}/draft", json={})
    assert client.delete(f"{path}/draft").status_code == 204
    assert client.get(path).json()["draft"] is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\\u0000"}',
        b'{"name": "\\ud800"}',
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"\\ud800": 1}',
        b"[]",
        b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_what_cannot_be_kept_is_refused_or_kept_and_never_our_fault(
    client: httpx.Client, path: str, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    assert client.put(f"{path}/draft", content=body, headers=headers).status_code in (200, 422)
    assert client.get(path).status_code == 200
    assert client.get(f"{path}/diff", params={"from": "1", "to": "draft"}).status_code in (200, 404)


def test_versions_are_listed_compared_and_gone_back_to(client: httpx.Client, path: str) -> None:
    conditions = {**RULE["conditions"], "count": {"op": ">=", "value": 5}}  # type: ignore[dict-item]
    client.put(path, json={**RULE, "conditions": conditions})
    listed = client.get(f"{path}/versions").json()["versions"]
    assert [(one["version"], one["changed"]) for one in listed] == [(2, ["conditions"]), (1, [])]
    first = client.get(f"{path}/versions/1").json()
    assert (first["version"], first["definition"]["conditions"]) == (1, RULE["conditions"])
    differs = client.get(f"{path}/diff", params={"from": "1", "to": "2"}).json()
    assert differs == {"changes": [{"field": "conditions.count.value", "old": 3, "new": 5}]}
    client.put(f"{path}/draft", json={**RULE, "actionData": {"content": "Five!"}})
    to_draft = client.get(f"{path}/diff", params={"from": "1", "to": "draft"}).json()["changes"]
    assert [one["field"] for one in to_draft] == ["actionData.content"]
    back = client.post(f"{path}/rollback", json={"version": 1, "seenVersion": 2}).json()
    assert (back["version"], back["conditions"]) == (3, RULE["conditions"])
    assert client.post(f"{path}/rollback", json={"version": 1, "seenVersion": 2}).status_code == 409
    for wrong in (f"{path}/versions/9", f"{path}/diff?from=1&to=9", f"{RULES}/{RULE_OF_NOBODY}/versions"):
        assert client.get(wrong).status_code == 404
    for wrong in (
        f"{path}/versions/0",
        f"{path}/versions/99999999999",
        f"{path}/diff?from=1",
        f"{path}/diff?from=1&to=x",
    ):
        assert client.get(wrong).status_code == 422


def test_a_rule_is_paused_and_resumed_without_a_new_version(client: httpx.Client, path: str) -> None:
    assert client.post(f"{path}/pause", json={"reason": ""}).status_code == 422
    paused = client.post(f"{path}/pause", json={"reason": "The text is outdated."}).json()
    assert (paused["version"], paused["pauseReason"], paused["isActive"]) == (1, "The text is outdated.", True)
    assert client.post(f"{path}/pause", json={"reason": "Again."}).json() == paused
    resumed = client.post(f"{path}/resume").json()
    assert (resumed["version"], resumed["pausedAt"], resumed["pausedBy"], resumed["pauseReason"]) == (
        1,
        None,
        None,
        None,
    )
    assert client.post(f"{path}/resume").json() == resumed


def test_a_deleted_rule_is_gone_from_the_list_and_still_answered_by_its_id(
    client: httpx.Client, store: Store, path: str
) -> None:
    assert [client.delete(path).status_code for _ in range(2)] == [204, 204]
    assert client.get(RULES).json() == {"rules": []}
    assert client.get(path).json()["archivedAt"] is not None
    assert client.put(path, json=RULE).status_code == 409
    assert client.post(RULES, json=RULE).status_code == 201
    assert client.delete(f"{RULES}/{RULE_OF_NOBODY}").status_code == 404
    with store.transaction() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(rules)) == 2


def test_statistics_are_those_of_the_tables(client: httpx.Client, store: Store, path: str) -> None:
    rule_id = path.rsplit("/", 1)[1]
    sealed = content.payload(user_id="u1", action_type="dm", subject=None, content="Hi")
    common = {"action_type": "dm", "content": "Hi", "content_hash": content.content_hash(sealed), "triggered_by": "x"}
    with store.transaction() as conn:
        for number in range(3):
            proposal = {"user_id": "u1", "rule_id": rule_id, "rule_version": 1, "cause": f"m{number}", **common}
            conn.execute(sa.insert(actions).values(proposal))
        conn.execute(sa.update(actions).where(actions.c.cause == "m0").values(status="rejected"))
        held = {"rule_id": rule_id, "rule_version": 1, "user_id": "u1", "cause": "m9", "reason": "cooldown"}
        conn.execute(sa.insert(skips).values(at=clock.now(), **held))
    assert client.get(f"{path}/stats").json() == {
        "proposed": 3,
        "byStatus": {"pending": 2, "rejected": 1},
        "skipped": {"cooldown": 1},
        "lastTriggered": None,
    }
