"""The moves that people and policies make: of exactly what was seen, with their history."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import get_args
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import content, definition, rules_engine
from oracle_lib.decide.definition import Words
from oracle_lib.errors import Conflict, Invalid, NotFound
from oracle_lib.execute import approvals, policies, records
from oracle_lib.execute.approvals import Draft, Seen, Settled, Settlement
from oracle_lib.execute.records import Filter
from oracle_lib.storage.tables import action_changes, actions, audit_log, outcomes, users

NOBODY = UUID(int=0)


def made(conn: Connection, now: datetime, **fields: object) -> records.Action:
    conn.execute(sa.text("INSERT INTO users (id) VALUES ('u1') ON CONFLICT DO NOTHING"))
    draft = Draft(**{"user_id": "u1", "action_type": "email", "subject": "Hello", "content": "Hi Ada", **fields})
    return approvals.create(conn, draft, actor="anna", now=now, expiry=timedelta(hours=72))


def verbs(conn: Connection) -> list[str]:
    return list(conn.execute(sa.select(action_changes.c.verb).order_by(action_changes.c.id)).scalars())


def test_an_approval_freezes_the_bytes_and_says_who_saw_what(conn: Connection, now: datetime) -> None:
    seen = made(conn, now)
    done = approvals.approve(conn, seen.id, actor="bea", now=now, seen=Seen(version=1, content_hash=seen.content_hash))
    assert (done.status, done.approved_by, done.approved_at, done.version) == ("approved", "bea", now, 1)
    row = conn.execute(sa.select(actions.c.payload, actions.c.approved_hash)).one()
    assert content.content_hash(bytes(row.payload)) == row.approved_hash == seen.content_hash
    change = conn.execute(sa.select(action_changes).where(action_changes.c.verb == "approved")).one()
    assert (change.actor, change.old_status, change.new_status) == ("bea", "pending", "approved")
    assert change.shown_hash == seen.content_hash
    assert conn.execute(sa.select(audit_log.c.actor, audit_log.c.verb).order_by(audit_log.c.id)).all() == [
        ("anna", "action.created"),
        ("bea", "action.approved"),
    ]


def test_an_answer_that_names_nothing_is_on_the_current_version_and_the_history_says_so(
    conn: Connection, now: datetime
) -> None:
    one = made(conn, now)
    approvals.approve(conn, one.id, actor="bea", now=now)
    assert conn.scalar(sa.select(action_changes.c.shown_hash).where(action_changes.c.verb == "approved")) is None


def test_an_edit_makes_a_new_version_that_the_old_sight_cannot_approve(conn: Connection, now: datetime) -> None:
    old = made(conn, now)
    new = approvals.edit(conn, old.id, actor="anna", now=now, words=Words("Hello Ada", "Hello"))
    assert (new.status, new.version, new.content) == ("pending", 2, "Hello Ada")
    for seen in (Seen(version=1), Seen(content_hash=old.content_hash)):
        with pytest.raises(Conflict) as refused:
            approvals.approve(conn, old.id, actor="bea", now=now, seen=seen)
        assert refused.value.current is not None
        assert (refused.value.current["version"], refused.value.current["content"]) == (2, "Hello Ada")
    assert approvals.approve(conn, old.id, actor="bea", now=now, seen=Seen(2, new.content_hash)).status == "approved"


def test_nothing_is_edited_after_approval(conn: Connection, now: datetime) -> None:
    one = made(conn, now)
    approvals.approve(conn, one.id, actor="bea", now=now)
    with pytest.raises(Conflict):
        approvals.edit(conn, one.id, actor="anna", now=now, words=Words("other", "Hello"))


def test_an_approval_is_taken_back_before_it_was_tried_and_not_after(conn: Connection, now: datetime) -> None:
    one = made(conn, now)
    approvals.approve(conn, one.id, actor="bea", now=now)
    back = approvals.undo(conn, one.id, actor="bea", now=now)
    assert (back.status, back.approved_by) == ("pending", None)
    assert conn.execute(sa.select(actions.c.payload, actions.c.approved_hash)).one() == (None, None)
    approvals.approve(conn, one.id, actor="bea", now=now)
    conn.execute(sa.update(actions).values(attempts=1))
    with pytest.raises(Conflict, match="tried already"):
        approvals.undo(conn, one.id, actor="bea", now=now)


def test_a_refusal_keeps_its_reason_and_may_have_none(conn: Connection, now: datetime) -> None:
    one, other = made(conn, now), made(conn, now)
    assert approvals.reject(conn, one.id, actor="bea", now=now, reason="too soon").reason == "too soon"
    assert approvals.reject(conn, other.id, actor="bea", now=now, reason=None).reason is None
    with pytest.raises(Conflict):
        approvals.approve(conn, one.id, actor="bea", now=now)


def test_what_was_done_by_hand_is_executed_with_a_note(conn: Connection, now: datetime) -> None:
    one = made(conn, now)
    done = approvals.done_by_hand(conn, one.id, actor="bea", now=now, note="called her")
    assert (done.status, done.executed_at, done.channel, done.reason) == ("executed", now, "hand", "called her")
    assert verbs(conn) == ["created", "done_by_hand"]


@pytest.mark.parametrize("became", get_args(Settled))
def test_a_person_settles_what_nobody_knows_and_nothing_else(conn: Connection, now: datetime, became: Settled) -> None:
    one = made(conn, now)
    given = Settlement(became, "asked her", may_arrive_twice=True)
    approvals.approve(conn, one.id, actor="bea", now=now)
    with pytest.raises(Conflict):
        approvals.settle(conn, one.id, given, actor="bea", now=now)
    conn.execute(sa.update(actions).values(status="executing", attempts=1))
    conn.execute(sa.update(actions).values(status="unknown"))
    with pytest.raises(Invalid):
        approvals.settle(conn, one.id, replace(given, note=" "), actor="bea", now=now)
    settled = approvals.settle(conn, one.id, given, actor="bea", now=now)
    assert (settled.status, settled.reason) == (became, "asked her")


def test_nobody_has_it_tried_again_without_saying_that_it_may_arrive_twice(conn: Connection, now: datetime) -> None:
    one = made(conn, now)
    approvals.approve(conn, one.id, actor="bea", now=now)
    conn.execute(sa.update(actions).values(status="executing", attempts=1))
    conn.execute(sa.update(actions).values(status="unknown"))
    with pytest.raises(Invalid) as refused:
        approvals.settle(conn, one.id, Settlement("approved", "asked her"), actor="bea", now=now)
    assert refused.value.field == "mayArriveTwice"
    assert records.get(conn, one.id).status == "unknown"


def test_only_an_approved_action_is_cancelled(conn: Connection, now: datetime) -> None:
    one = made(conn, now)
    with pytest.raises(Conflict):
        approvals.cancel(conn, one.id, actor="bea", now=now)
    approvals.approve(conn, one.id, actor="bea", now=now)
    assert approvals.cancel(conn, one.id, actor="bea", now=now).status == "cancelled"


def test_what_waits_too_long_expires_and_an_approval_gives_it_time_again(conn: Connection, now: datetime) -> None:
    waits, approved = made(conn, now), made(conn, now)
    later = now + timedelta(hours=70)
    approvals.approve(conn, approved.id, actor="bea", now=later)
    assert policies.expire(conn, now + timedelta(hours=71)) == 0
    assert policies.expire(conn, now + timedelta(hours=72)) == 1
    assert records.get(conn, waits.id).status == "expired"
    assert policies.expire(conn, later + timedelta(hours=72)) == 1
    assert records.get(conn, approved.id).status == "expired"
    assert verbs(conn)[-2:] == ["expired", "expired"]


def test_a_policy_approves_only_the_unedited_text_of_rules_that_say_so(conn: Connection, now: datetime) -> None:
    ids = {}
    for name, approval in (("careful", "review"), ("routine", "auto")):
        body = {
            "name": name,
            "trigger": "event_based",
            "conditions": {"event": "login"},
            "actionType": "dm",
            "holdout": 0,
            "actionData": {"content": "Hi"},
            "approval": approval,
        }
        ids[name] = rules_engine.create(conn, definition.read(body), actor="anna", now=now).id
    by_hand = made(conn, now)
    proposals = {}
    for key, rule in (("reviewed", "careful"), ("auto", "routine"), ("edited", "routine")):
        proposals[key] = made(conn, now)
        change = sa.update(actions).where(actions.c.id == proposals[key].id)
        conn.execute(change.values(rule_id=ids[rule], rule_version=1, cause=key, triggered_by=rule))
    approvals.edit(conn, proposals["edited"].id, actor="anna", now=now, words=Words("Hi", "Hello"))
    assert policies.approve_by_policy(conn, now) == 1
    assert policies.approve_by_policy(conn, now) == 0
    approved = records.get(conn, proposals["auto"].id)
    assert (approved.status, approved.approved_by) == ("approved", "policy")
    assert records.get(conn, by_hand.id).status == "pending"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"action_type": "fax"}, "actionType"),
        ({"subject": None}, "subject"),
        ({"subject": "a\r\nBcc: x@y.z"}, "subject"),
        ({"content": " "}, "content"),
        ({"content": "a\x00"}, "content"),
        ({"content": "\ud800"}, "content"),
        ({"content": "x" * 20_001}, "content"),
        ({"priority": 11}, "priority"),
        ({"message_class": "spam"}, "messageClass"),
        ({"scheduled_at": datetime(2026, 3, 4)}, "scheduledAt"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_field(
    conn: Connection, now: datetime, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        made(conn, now, **fields)
    assert refused.value.field == field


def test_an_unknown_user_or_action_is_not_found(conn: Connection, now: datetime) -> None:
    with pytest.raises(NotFound):
        approvals.create(conn, Draft("nobody", "dm", "Hi"), actor="anna", now=now)
    with pytest.raises(NotFound):
        approvals.approve(conn, NOBODY, actor="bea", now=now)


def test_a_listing_goes_page_by_page_newest_first_with_filters_and_outcomes(conn: Connection, now: datetime) -> None:
    conn.execute(sa.insert(users), [{"id": "u2"}])
    ids = [made(conn, now).id for _ in range(5)]
    other = made(conn, now, user_id="u2", action_type="dm", subject=None).id
    approvals.approve(conn, ids[0], actor="bea", now=now)
    conn.execute(sa.insert(outcomes).values(action_id=ids[4], kind="opened", at=now, user_id="u1"))
    first = records.listing(conn, limit=4)
    rest = records.listing(conn, limit=4, cursor=first.next_cursor)
    assert [one.id for one in [*first.actions, *rest.actions]] == [other, *reversed(ids)]
    assert rest.next_cursor is None
    assert first.actions[1].outcome == records.Outcome(opened=True)
    assert [one.id for one in records.listing(conn, Filter(status="approved")).actions] == [ids[0]]
    assert [one.id for one in records.listing(conn, Filter(user_id="u2", action_type="dm")).actions] == [other]
    for wrong in (Filter(status="done"), Filter(action_type="fax")):
        with pytest.raises(Invalid):
            records.listing(conn, wrong)
    for wrong in ({"limit": 0}, {"limit": 201}, {"cursor": "x"}):
        with pytest.raises(Invalid):
            records.listing(conn, **wrong)


def test_whom_a_letters_footer_is_written_for_is_frozen_with_its_words(conn: Connection, now: datetime) -> None:
    conn.execute(sa.insert(users).values(id="u1", locale="de-AT"))
    seen = made(conn, now)
    conn.execute(sa.update(users).values(locale="es"))
    edited = approvals.edit(conn, seen.id, actor="anna", now=now, words=Words("Hallo", "Hallo"))
    approvals.approve(conn, seen.id, actor="bea", now=now, seen=Seen(2, edited.content_hash))
    row = conn.execute(sa.select(actions.c.payload, actions.c.approved_hash)).one()
    assert content.of_letter(bytes(row.payload)) == (None, "de-AT")
    assert content.content_hash(bytes(row.payload)) == row.approved_hash == edited.content_hash
    direct = made(conn, now, action_type="dm", subject=None)
    assert b"locale" not in approvals.payload(direct)
