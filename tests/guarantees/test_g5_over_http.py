"""G5 as callers meet it: two who approve, one who edits and one who rejects, at once and over real HTTP.

Control: a server that reads the state and then writes it lets both approvals through.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from oracle_lib.execute import approvals
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.records import Action
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, audit_log, users
from tests.api.conftest import make_key, serving, serving_app
from tests.conftest import FULL

ACTIONS = 1000 if FULL else 100
PATH = "/api/oracle/actions"
Ask = Callable[[httpx.Client, Action], httpx.Response]


def proposed(store: Store, now: datetime, count: int) -> list[Action]:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u1"))
        drafts = [Draft("u1", "dm", f"Hi number {n}") for n in range(count)]
        return [approvals.create(conn, draft, actor="anna", now=now) for draft in drafts]


@pytest.fixture
def guarded(store: Store, database_url: str) -> Iterator[tuple[str, dict[str, str]]]:
    with store.transaction() as conn:
        key = make_key(conn, "actions:approve")
    with serving(store, Settings(database_url=database_url, environment="test")) as address:
        yield address, {"Authorization": f"Bearer {key}"}


def all_at_once(address: str, headers: dict[str, str], shown: list[Action], asks: list[Ask]) -> list[list[int]]:
    """Let one client an ask go through all actions, each action at a barrier; return the statuses, action by action."""
    barrier = threading.Barrier(len(asks))
    told: list[list[int]] = [[] for _ in shown]

    def work(ask: Ask) -> None:
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            for number, action in enumerate(shown):
                barrier.wait()
                told[number].append(ask(client, action).status_code)

    threads = [threading.Thread(target=work, args=(ask,)) for ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def seen(action: Action) -> dict[str, object]:
    return {"version": action.version, "contentHash": action.content_hash}


def approve(client: httpx.Client, action: Action) -> httpx.Response:
    return client.patch(f"{PATH}/{action.id}", json={"status": "approved", **seen(action)})


def approve_among_others(client: httpx.Client, action: Action) -> httpx.Response:
    """Approve by the route for many, and answer as the route for one does."""
    body = {"status": "approved", "items": [{"id": str(action.id), **seen(action)}]}
    told = client.post(f"{PATH}/answers", json=body)
    moved = told.status_code == 200 and told.json()["moved"] == 1
    return told if told.status_code >= 500 or moved else httpx.Response(409)


def reject(client: httpx.Client, action: Action) -> httpx.Response:
    return client.patch(f"{PATH}/{action.id}", json={"status": "rejected", "reason": "not now", **seen(action)})


def edit(client: httpx.Client, action: Action) -> httpx.Response:
    return client.put(f"{PATH}/{action.id}/words", json={"content": "Other words", **seen(action)})


def test_of_two_approvals_an_edit_and_a_refusal_exactly_one_is_answered_200(
    store: Store, now: datetime, guarded: tuple[str, dict[str, str]]
) -> None:
    shown = proposed(store, now, ACTIONS)
    told = all_at_once(*guarded, shown, [approve, approve_among_others, edit, reject])
    assert Counter(tuple(sorted(statuses)) for statuses in told) == {(200, 409, 409, 409): ACTIONS}
    with store.transaction() as conn:
        stands = {row.id: row for row in conn.execute(sa.select(actions))}
        histories = Counter(conn.scalars(sa.select(action_changes.c.action_id)))
        audited = Counter(conn.scalars(sa.select(audit_log.c.subject).where(audit_log.c.verb != "action.created")))
    assert set(histories.values()) == {2}, "created, and the one move"
    assert {audited[f"action:{action.id}"] for action in shown} == {1}
    for action in shown:
        now_is = stands[action.id]
        match now_is.status:
            case "approved":
                assert (now_is.approved_hash, now_is.version) == (action.content_hash, 1)
            case "pending":
                assert (now_is.content, now_is.version) == ("Other words", 2)
            case other:
                assert other == "rejected"


def test_control_a_server_that_reads_and_then_writes_lets_both_approvals_through(store: Store, now: datetime) -> None:
    both_have_read = threading.Barrier(2)
    app = FastAPI()

    @app.patch(PATH + "/{action_id}")
    def naive(action_id: str) -> None:
        one = actions.c.id == action_id
        with store.transaction() as conn:
            status = conn.scalar(sa.select(actions.c.status).where(one))
        both_have_read.wait()
        if status == "pending":
            with store.transaction() as conn:
                conn.execute(sa.update(actions).where(one).values(status="approved"))

    with serving_app(app) as address:
        told = all_at_once(address, {}, proposed(store, now, 10), [approve, approve])
    assert told == [[200, 200]] * 10
