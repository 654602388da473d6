"""Over HTTP: how many a rule would reach, why somebody got nothing, whether a rule helps, and the kill switch."""

import httpx
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.decide import decider
from oracle_lib.decide.decider import ALL_TRIGGERS
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import activity, users

RULE = {
    "name": "Come back",
    "trigger": "time_based",
    "conditions": {"days_since": {"event": "activity", "op": ">=", "value": 7}},
    "actionType": "dm",
    "actionData": {"content": "Your place is kept."},
    "goal": {"event": "login", "within_days": 2},
    "holdout": 50,
    "variants": [{"name": "warm", "share": 20, "content": "We miss you."}],
}


def silent(store: Store, count: int) -> None:
    last = clock.now().date() - 8 * clock.DAY
    with store.transaction() as conn:
        conn.execute(sa.insert(users), [{"id": f"u{number}"} for number in range(count)])
        conn.execute(sa.insert(activity), [{"user_id": f"u{n}", "last_active_on": last} for n in range(count)])


def propose(store: Store) -> None:
    now = clock.now()
    with store.transaction() as conn:
        decider.propose(conn, as_of=now.date(), now=now, triggers=ALL_TRIGGERS, everyone=True)


def test_a_tree_is_counted_before_it_is_anybodys_rule(client: httpx.Client, store: Store) -> None:
    silent(store, 3)
    told = client.post("/api/oracle/rules/reach", json={"conditions": {"not": RULE["conditions"]}})
    assert told.status_code == 200
    assert told.json() == {
        "users": 3,
        "nodes": [{"place": "conditions", "users": 0}, {"place": "conditions.not", "users": 3}],
    }
    wrong = client.post("/api/oracle/rules/reach", json={"conditions": {"all": [{"segment": "shoeSize"}]}})
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "conditions.all[0].segment")


def test_a_rule_with_variants_is_measured_by_arms(client: httpx.Client, store: Store) -> None:
    made = client.post("/api/oracle/rules", json=RULE).json()
    assert (made["holdout"], made["variants"][0]["share"]) == (50, 20)
    silent(store, 40)
    propose(store)
    [read] = client.get("/api/oracle/experiments").json()["experiments"]
    assert (read["ruleId"], read["goalEvent"], read["control"], read["causal"]) == (
        made["id"],
        "login",
        "holdout",
        True,
    )
    assert {arm["arm"]: arm["share"] for arm in read["arms"]} == {"holdout": 50, "a": 30, "warm": 20}
    assert sum(arm["enrolled"] for arm in read["arms"]) == 40
    assert [(one["arm"], one["verdict"]) for one in read["effects"]] == [
        ("a", "not enough data"),
        ("warm", "not enough data"),
    ]
    assert client.get(f"/api/oracle/experiments/{read['id']}").json() == read
    assert client.get(f"/api/oracle/experiments/{made['id']}").status_code == 404


def test_somebody_who_got_nothing_can_be_told_why(client: httpx.Client, store: Store) -> None:
    made = client.post("/api/oracle/rules", json={**RULE, "holdout": 0, "variants": []}).json()
    silent(store, 1)
    path = "/api/oracle/users/u0/why-not"
    told = client.get(path, params={"rule": made["id"]}).json()
    assert (told["matches"], [one["code"] for one in told["answers"]]) == (True, ["next_run"])
    with store.transaction() as conn:
        conn.execute(sa.update(users).values(consent={"dm": False}))
    propose(store)
    told = client.get(path, params={"rule": made["id"]}).json()
    assert [one["code"] for one in told["answers"]] == ["no_consent"]
    assert told["conditions"][0] == {
        "place": "conditions",
        "condition": RULE["conditions"],
        "holds": True,
        "found": {"days since activity": 8},
    }
    assert client.get(path, params={"rule": "x"}).status_code == 422
    assert client.get("/api/oracle/users/nobody/why-not", params={"rule": made["id"]}).status_code == 404


def test_sending_is_stopped_and_resumed_by_one_call(client: httpx.Client) -> None:
    path = "/api/oracle/sending-stops"
    stopped = client.put(f"{path}/email", json={"reason": "Bounces"}).json()["stops"]
    assert [(one["scope"], one["reason"]) for one in stopped] == [("email", "Bounces")]
    assert stopped[0]["stoppedBy"].startswith("key:")
    assert client.get(path).json()["stops"] == stopped
    assert client.delete(f"{path}/email").json() == {"stops": []}
    assert client.put(f"{path}/fax", json={"reason": "x"}).status_code == 422
    assert client.put(f"{path}/all", json={"reason": " "}).status_code == 422
