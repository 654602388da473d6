"""Pausing, resuming and deleting: no new version, nothing evaluated meanwhile, every move in the audit log, once."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import (
    caps,
    decider,
    definition,
    rule_drafts,
    rule_life,
    rule_records,
    rule_statistics,
    rules_engine,
)
from oracle_lib.decide.decider import ALL_TRIGGERS, ProposeReport
from oracle_lib.decide.guardrails import Limits
from oracle_lib.errors import Conflict, NotFound
from oracle_lib.execute import approvals, policies
from oracle_lib.storage.tables import (
    actions,
    activity,
    audit_log,
    dirty_users,
    experiments,
    rule_versions,
    rules,
    users,
)

LIMITS = Limits("production", consent_by_default=True, caps=caps.of(2, None, {}))


def made(conn: Connection, now: datetime, name: str = "win back", **fields: object) -> UUID:
    body: dict[str, object] = {
        "name": name,
        "trigger": "time_based",
        "conditions": {"days_since": {"event": "activity", "op": ">=", "value": 7}},
        "actionType": "dm",
        "actionData": {"content": "Your place is kept."},
        "holdout": 0,
        **fields,
    }
    return rules_engine.create(conn, definition.read(body), actor="anna", now=now).id


def silent(conn: Connection, now: datetime, *names: str) -> None:
    for name in names:
        conn.execute(sa.insert(users).values(id=name))
        conn.execute(sa.insert(activity).values(user_id=name, last_active_on=now.date() - timedelta(days=8)))


def propose(conn: Connection, now: datetime) -> ProposeReport:
    return decider.propose(conn, as_of=now.date(), now=now, triggers=ALL_TRIGGERS, everyone=True, limits=LIMITS)


def noted(conn: Connection, rule_id: UUID) -> list[tuple[str, str]]:
    query = sa.select(audit_log.c.verb, audit_log.c.actor).where(audit_log.c.subject == f"rule:{rule_id}")
    return [(verb, actor) for verb, actor in conn.execute(query.order_by(audit_log.c.id))]


def test_a_paused_rule_proposes_nothing_until_it_is_resumed(conn: Connection, now: datetime) -> None:
    rule_id = made(conn, now)
    silent(conn, now, "u1")
    rule_life.pause(conn, rule_id, "The text is outdated.", actor="bea", now=now)
    assert propose(conn, now).proposed == 0
    rule_life.resume(conn, rule_id, actor="bea", now=now)
    assert propose(conn, now).proposed == 1
    assert conn.scalar(sa.select(sa.func.count()).select_from(rule_versions)) == 1


def test_a_pause_says_who_when_and_why_and_pausing_again_changes_none_of_it(conn: Connection, now: datetime) -> None:
    rule_id = made(conn, now)
    rule_life.pause(conn, rule_id, "The text is outdated.", actor="bea", now=now)
    rule_life.pause(conn, rule_id, "Something else.", actor="cleo", now=now + timedelta(hours=1))
    record = rule_records.get(conn, rule_id)
    assert (record.paused_at, record.paused_by, record.pause_reason) == (now, "bea", "The text is outdated.")
    for _ in range(2):
        rule_life.resume(conn, rule_id, actor="cleo", now=now)
    record = rule_records.get(conn, rule_id)
    assert (record.paused_at, record.paused_by, record.pause_reason) == (None, None, None)
    assert noted(conn, rule_id) == [("rule.published", "anna"), ("rule.paused", "bea"), ("rule.resumed", "cleo")]


def test_resuming_asks_the_rules_of_everybody_again_and_resuming_nothing_asks_nobody(
    conn: Connection, now: datetime
) -> None:
    rule_id = made(conn, now)
    waiting = sa.select(sa.func.count()).select_from(dirty_users)
    rule_life.resume(conn, rule_id, actor="cleo", now=now)
    assert conn.scalar(waiting) == 0
    rule_life.pause(conn, rule_id, "Wait.", actor="bea", now=now)
    rule_life.resume(conn, rule_id, actor="cleo", now=now)
    assert conn.execute(sa.select(dirty_users.c.stage, dirty_users.c.user_id)).all() == [("rules", None)]


def test_a_deleted_rule_leaves_the_lists_and_gives_up_its_name_and_keeps_its_history(
    conn: Connection, now: datetime
) -> None:
    rule_id = made(conn, now)
    silent(conn, now, "u1")
    propose(conn, now)
    for _ in range(2):
        rule_life.archive(conn, rule_id, actor="bea", now=now)
    assert rules_engine.active(conn, ALL_TRIGGERS, now) == []
    assert rules_engine.listing(conn) == []
    assert rule_records.listing(conn) == []
    assert rule_records.get(conn, rule_id).archived_at == now
    assert noted(conn, rule_id)[1:] == [("rule.deleted", "bea")]
    assert conn.scalar(sa.select(actions.c.cause).where(actions.c.rule_id == rule_id)) is not None
    assert made(conn, now) != rule_id
    with pytest.raises(NotFound):
        rule_life.archive(conn, UUID(int=0), actor="bea", now=now)


def test_an_experiment_ends_with_its_rule(conn: Connection, now: datetime) -> None:
    rule_id, _ = made(conn, now, holdout=10), made(conn, now, "other", holdout=10)
    rule_life.archive(conn, rule_id, actor="bea", now=now)
    ended = sa.select(experiments.c.rule_id).where(experiments.c.ended_at == now)
    assert conn.execute(ended).scalars().all() == [rule_id]


@pytest.mark.parametrize(
    "move",
    [
        lambda conn, rule_id, now: rule_life.pause(conn, rule_id, "Why", actor="bea", now=now),
        lambda conn, rule_id, now: rule_life.resume(conn, rule_id, actor="bea", now=now),
        lambda conn, rule_id, now: rule_drafts.discard(conn, rule_id, actor="bea", now=now),
        lambda conn, rule_id, now: rules_engine.publish(
            conn, rule_id, rules_engine.get(conn, rule_id).definition, actor="bea", now=now
        ),
    ],
    ids=["pause", "resume", "discard", "publish"],
)
def test_a_deleted_rule_is_never_changed_again(
    conn: Connection, now: datetime, move: Callable[[Connection, UUID, datetime], None]
) -> None:
    rule_id = made(conn, now)
    rule_life.archive(conn, rule_id, actor="bea", now=now)
    with pytest.raises(Conflict, match="deleted"):
        move(conn, rule_id, now)


def test_a_deleted_starter_is_not_installed_again(conn: Connection, now: datetime) -> None:
    rules_engine.install_starters(conn, now)
    rule_life.archive(conn, rules_engine.listing(conn)[0].id, actor="bea", now=now)
    assert rules_engine.install_starters(conn, now) == 0
    assert len(rules_engine.listing(conn)) == 4


@pytest.mark.parametrize("held", ["paused_at", "archived_at"])
def test_no_policy_approves_for_a_rule_that_is_paused_or_deleted(conn: Connection, now: datetime, held: str) -> None:
    made(conn, now, approval="auto")
    silent(conn, now, "u1")
    propose(conn, now)
    conn.execute(sa.update(rules).values({held: now}))
    assert policies.approve_by_policy(conn, now) == 0
    conn.execute(sa.update(rules).values({held: None}))
    assert policies.approve_by_policy(conn, now) == 1


def test_statistics_count_what_the_rules_own_rows_say(conn: Connection, now: datetime) -> None:
    rule_id, other = made(conn, now), made(conn, now, "other", priority=1, maxPerUser=1)
    silent(conn, now, "u1", "u2", "u3")
    conn.execute(sa.update(users).where(users.c.id == "u3").values(consent={"dm": False}))
    propose(conn, now)
    mine = sa.select(actions.c.id).where(actions.c.rule_id == rule_id).order_by(actions.c.user_id).limit(1)
    approvals.reject(conn, conn.execute(mine).scalar_one(), actor="bea", now=now, reason=None)
    found = rule_statistics.of(conn, rule_id)
    assert (found.proposed, dict(found.by_status)) == (2, {"pending": 1, "rejected": 1})
    assert (dict(found.skipped), found.last_triggered) == ({"no_consent": 1}, now)
    assert rule_statistics.of(conn, other).by_status == {"pending": 2}
    with pytest.raises(NotFound):
        rule_statistics.of(conn, UUID(int=0))
