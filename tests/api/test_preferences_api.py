"""What users want less of, said over the API: the same rows, the same effect as the page behind an e-mail's link."""

from collections import Counter
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.execute import approvals, unsubscribe
from oracle_lib.execute.approvals import Draft
from oracle_lib.observe import identities
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, audit_log, suppressions, users
from tests.api.conftest import MakeClient

PATH = "/api/oracle/users/u1/preferences"
NOTHING = {"unsubscribed": False, "pausedUntil": None, "fewer": False, "refusedTopics": [], "stopped": None}


@pytest.fixture(autouse=True)
def people(store: Store) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users), [{"id": "u1"}, {"id": "u2"}])


def approved(store: Store, user_id: str = "u1", action_type: str = "email", topic: str | None = None) -> None:
    with store.transaction() as conn:
        draft = Draft(user_id, action_type, "Hi", subject="Hi", topic=topic)
        made = approvals.create(conn, draft, actor="anna", now=clock.now())
        approvals.approve(conn, made.id, actor="bea", now=clock.now())


def states(store: Store) -> Counter[str]:
    with store.transaction() as conn:
        return Counter(conn.scalars(sa.select(actions.c.status)))


def put(client: httpx.Client, **email: object) -> dict[str, object]:
    answer = client.put(PATH, json={"channels": {"email": email}})
    assert answer.status_code == 200, answer.text
    said: dict[str, object] = answer.json()["channels"]["email"]
    return said


def test_who_said_nothing_wants_everything_on_every_channel(client: httpx.Client) -> None:
    assert client.get(PATH).json() == {"channels": {"email": NOTHING, "dm": NOTHING, "push": NOTHING}}
    assert client.get("/api/oracle/users/nobody/preferences").status_code == 404
    assert client.put("/api/oracle/users/nobody/preferences", json={"channels": {"dm": {}}}).status_code == 404


def test_unsubscribing_ends_what_waits_on_that_channel_and_wanting_it_again_takes_it_back(
    client: httpx.Client, store: Store
) -> None:
    approved(store)
    approved(store, action_type="dm")
    approved(store, user_id="u2")
    stopped = {"reason": "unsubscribed", "until": None}
    assert put(client, unsubscribed=True) == {**NOTHING, "unsubscribed": True, "stopped": stopped}
    assert states(store) == {"cancelled": 1, "approved": 2}
    assert client.get(PATH).json()["channels"]["dm"] == NOTHING
    assert put(client, unsubscribed=False) == NOTHING


def test_a_refused_topic_ends_what_waits_of_it_and_the_list_is_what_stands(client: httpx.Client, store: Store) -> None:
    approved(store, topic="events")
    approved(store, topic="new courses")
    assert put(client, refusedTopics=["new courses", "offers"])["refusedTopics"] == ["new courses", "offers"]
    assert states(store) == {"cancelled": 1, "approved": 1}
    assert put(client, refusedTopics=["offers"])["refusedTopics"] == ["offers"]
    assert put(client, fewer=True) == {**NOTHING, "refusedTopics": ["offers"], "fewer": True}
    assert put(client, fewer=False, refusedTopics=[]) == NOTHING


def test_a_pause_lasts_until_the_moment_named_may_be_changed_and_ends(client: httpx.Client) -> None:
    soon = (clock.now() + timedelta(days=3)).replace(microsecond=0)
    later = soon + timedelta(days=60)
    for until in (soon, later, soon):
        said = put(client, pausedUntil=until.isoformat())
        assert said["pausedUntil"] == until.isoformat().replace("+00:00", "Z")
    assert put(client, pausedUntil=None) == NOTHING


def test_an_unsubscription_stays_stronger_than_a_pause_unless_it_is_taken_back(client: httpx.Client) -> None:
    until = (clock.now() + timedelta(days=3)).isoformat()
    put(client, unsubscribed=True)
    assert put(client, pausedUntil=until)["unsubscribed"] is True
    said = put(client, unsubscribed=False, pausedUntil=until)
    assert (said["unsubscribed"], said["pausedUntil"] is not None) == (False, True)
    assert put(client, unsubscribed=True)["pausedUntil"] is None


@pytest.mark.parametrize("reason", ["bounced", "complained"])
def test_no_wish_takes_back_a_bounce_or_a_complaint(client: httpx.Client, store: Store, reason: str) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(suppressions).values(user_id="u1", channel="email", reason=reason))
    until = (clock.now() + timedelta(days=3)).isoformat()
    for wish in ({"unsubscribed": True}, {"unsubscribed": False}, {"pausedUntil": until}, {"pausedUntil": None}):
        assert put(client, **wish)["stopped"] == {"reason": reason, "until": None}


def test_the_page_and_the_api_say_the_same(client: httpx.Client, store: Store) -> None:
    approved(store, topic="new courses")
    with store.transaction() as conn:
        who = unsubscribe.recipient(conn, conn.scalars(sa.select(actions.c.id)).one())
        unsubscribe.refuse_topic(conn, who, "new courses", clock.now())
        unsubscribe.want_fewer(conn, who, clock.now())
    said = client.get(PATH).json()["channels"]["email"]
    assert said == {**NOTHING, "fewer": True, "refusedTopics": ["new courses"]}
    put(client, unsubscribed=True)
    with store.transaction() as conn:
        standing = unsubscribe.standing(conn, who, clock.now())
    assert standing is not None
    assert (standing.reason, standing.theirs) == ("unsubscribed", True)


def test_who_got_another_id_since_is_the_one_who_is_meant(client: httpx.Client, store: Store) -> None:
    with store.transaction() as conn:
        identities.merge(conn, [("u1", "u2")], source="test", now=clock.now())
    put(client, fewer=True)
    assert client.get("/api/oracle/users/u2/preferences").json()["channels"]["email"]["fewer"] is True


def test_each_change_is_in_the_audit_log_under_the_key_and_said_again_is_none(
    client_with: MakeClient, store: Store
) -> None:
    client = client_with("users:read", "users:write")
    for _ in range(2):
        put(client, unsubscribed=True, fewer=True, refusedTopics=["offers"])
    put(client, unsubscribed=False, fewer=False, refusedTopics=[])
    kept = sa.select(audit_log.c.verb, audit_log.c.actor, audit_log.c.detail).where(audit_log.c.subject == "user:u1")
    with store.transaction() as conn:
        rows = conn.execute(kept.order_by(audit_log.c.id)).all()
    assert [row.verb for row in rows] == [
        "user.unsubscribed",
        "user.fewer_wanted",
        "user.topic_refused",
        "user.resubscribed",
        "user.usual_wanted",
        "user.topic_wanted",
    ]
    assert {row.actor.partition(":")[0] for row in rows} == {"key"}
    assert {row.detail["channel"] for row in rows} == {"email"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "channels"),
        ({"channels": {}}, "channels"),
        ({"channels": {"fax": {"fewer": True}}}, "channels"),
        ({"channels": {"email": {"fewer": "yes"}}}, "channels.email.fewer"),
        ({"channels": {"email": {"pausedUntil": "2012-01-01T00:00:00Z"}}}, "channels.email.pausedUntil"),
        ({"channels": {"email": {"pausedUntil": "2200-01-01T00:00:00Z"}}}, "channels.email.pausedUntil"),
        ({"channels": {"email": {"refusedTopics": ["a\nb"]}}}, "channels.email.refusedTopics"),
        ({"channels": {"email": {"refusedTopics": ["x" * 61]}}}, "channels.email.refusedTopics"),
        ({"channels": {"email": {"everything": True}}}, "channels.email.everything"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(
    client: httpx.Client, body: dict[str, object], field: str
) -> None:
    answer = client.put(PATH, json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"].startswith(field)


def test_to_be_unsubscribed_and_paused_is_a_contradiction(client: httpx.Client) -> None:
    until = (clock.now() + timedelta(days=3)).isoformat()
    body = {"channels": {"email": {"unsubscribed": True, "pausedUntil": until}}}
    answer = client.put(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "contradiction")
