"""Rules that fire become pending actions, once a cause and within everyone's limits."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import findings
from oracle_lib.analyze.findings import Finding
from oracle_lib.decide import caps, content, decider, definition, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS, ProposeReport
from oracle_lib.decide.guardrails import Limits
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits as WireLimits
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import (
    action_changes,
    actions,
    activity,
    courses,
    dirty_users,
    fewer_wanted,
    refused_topics,
    rules,
    segment_changes,
    segments,
    skips,
    suppressions,
    user_days,
    user_tags,
    users,
)

TODAY = date(2026, 3, 4)
LIMITS = Limits("production", consent_by_default=True, caps=caps.of(2, None, {}))
SILENT = {"days_since": {"event": "activity", "op": ">=", "value": 7}}


def rule(conn: Connection, now: datetime, name: str, **fields: object) -> rules_engine.Rule:
    body = {
        "name": name,
        "trigger": "time_based",
        "conditions": SILENT,
        "actionType": "dm",
        "holdout": 0,
        "actionData": {"content": 'Hi {{ first_name or "there" }}'},
        **fields,
    }
    return rules_engine.create(conn, definition.read(body), actor="anna", now=now)


def user(conn: Connection, user_id: str, *, silent: int | None = None, **fields: object) -> None:
    conn.execute(sa.insert(users).values(id=user_id, **fields))
    if silent is not None:
        last = TODAY - timedelta(days=silent)
        conn.execute(sa.insert(activity).values(user_id=user_id, last_active_on=last))


def event(conn: Connection, now: datetime, user_id: str, name: str, message_id: str, **fields: str) -> None:
    door = Door(source="test", limits=WireLimits("USD", internal=True))
    body = {"userId": user_id, "event": name, "messageId": message_id, **fields}
    import msgspec

    assert ingest(conn, [msgspec.json.encode(body)], door=door, received_at=now).accepted == 1
    conn.execute(sa.insert(user_days).values({"user_id": user_id, "day": now.date(), name: 1}))


def run(conn: Connection, now: datetime, **fields: object) -> ProposeReport:
    options: dict = {"triggers": ALL_TRIGGERS, "everyone": True, "limits": LIMITS, **fields}
    return decider.propose(conn, as_of=TODAY, now=now, **options)


def proposed(conn: Connection) -> list[tuple[str, str | None]]:
    query = sa.select(actions.c.user_id, actions.c.cause).order_by(actions.c.user_id, actions.c.id)
    return [(user_id, cause) for user_id, cause in conn.execute(query)]


def reasons(conn: Connection) -> list[tuple[str, str]]:
    query = sa.select(skips.c.user_id, skips.c.reason).order_by(skips.c.user_id, skips.c.reason)
    return [(user_id, reason) for user_id, reason in conn.execute(query)]


def test_a_silence_is_proposed_once_with_the_words_filled_in_and_the_reason_kept(
    conn: Connection, now: datetime
) -> None:
    made = rule(conn, now, "back")
    user(conn, "u1", silent=7, first_name="Ada")
    user(conn, "u2", silent=6)
    report = run(conn, now)
    assert (report.proposed, report.by_rule, report.skipped) == (1, {"back": 1}, {})
    row = conn.execute(sa.select(actions)).one()
    assert (row.user_id, row.status, row.content, row.triggered_by) == ("u1", "pending", "Hi Ada", "back")
    assert (row.rule_id, row.rule_version, row.cause) == (made.id, 1, "activity@2026-02-25>=7")
    assert row.trigger_data["matched"] == {"days since activity": 7}
    assert row.trigger_data["facts"]["days_silent"] == 7
    assert "Ada" not in str(row.trigger_data)
    sealed = content.payload(user_id="u1", action_type="dm", subject=None, content="Hi Ada")
    assert row.content_hash == content.content_hash(sealed)
    assert row.expires_at == now + timedelta(hours=72)
    history = conn.execute(sa.select(action_changes)).one()
    assert (history.verb, history.old_status, history.new_status) == ("proposed", None, "pending")
    counted = conn.execute(sa.select(rules.c.times_triggered, rules.c.last_triggered)).one()
    assert tuple(counted) == (1, now)


def test_the_same_run_twice_proposes_and_writes_nothing_the_second_time(conn: Connection, now: datetime) -> None:
    rule(conn, now, "back", cooldown=0)
    user(conn, "u1", silent=8)
    assert run(conn, now).proposed == 1
    again = run(conn, now + timedelta(minutes=1))
    assert (again.proposed, again.skipped, again.superseded) == (0, {}, 0)


def test_thousands_are_proposed_while_the_planner_believes_that_there_are_no_actions(
    store: Store, now: datetime
) -> None:
    """A run that was rolled back leaves its rows for dead, and `ANALYZE` then counts none on many pages."""
    with store.transaction() as conn:
        rule(conn, now, "back")
        everybody = sa.text("SELECT 'u' || n AS id FROM generate_series(1, 3000) n").columns(users.c.id).subquery()
        conn.execute(sa.insert(users).from_select(["id"], sa.select(everybody)))
        silent = sa.select(everybody.c.id, sa.literal(TODAY - timedelta(days=7), sa.Date))
        conn.execute(sa.insert(activity).from_select(["user_id", "last_active_on"], silent))
    with store.engine.connect() as conn:
        run(conn, now)
        conn.rollback()
        conn.exec_driver_sql("ANALYZE actions")
        conn.exec_driver_sql("SET LOCAL statement_timeout = '20s'")
        report = run(conn, now)
        assert (report.proposed, report.superseded) == (3000, 0)
        conn.execute(sa.update(activity).values(last_active_on=TODAY - timedelta(days=8)))
        again = run(conn, now + timedelta(days=8))
        assert (again.proposed, again.superseded) == (3000, 3000)


def test_an_event_fires_a_rule_by_its_message_id_and_own_deliveries_never_do(conn: Connection, now: datetime) -> None:
    rule(conn, now, "cheer", trigger="event_based", conditions={"event": "quiz_pass", "within_days": 1})
    event(conn, now, "u1", "quiz_pass", "m1")
    event(conn, now, "u2", "quiz_pass", "m2", source="oracle")
    run(conn, now)
    assert proposed(conn) == [("u1", "m1")]


def test_only_users_that_wait_are_looked_at_and_the_queue_is_consumed(conn: Connection, now: datetime) -> None:
    rule(conn, now, "back")
    user(conn, "u1", silent=8)
    user(conn, "u2", silent=8)
    conn.execute(sa.insert(dirty_users), [{"stage": "rules", "user_id": "u2"}, {"stage": "segments", "user_id": "u1"}])
    run(conn, now, everyone=False)
    assert [user_id for user_id, _ in proposed(conn)] == ["u2"]
    assert conn.execute(sa.select(dirty_users.c.stage)).scalars().all() == ["segments"]


def test_a_daily_run_without_event_rules_leaves_the_queue_to_those_who_evaluate_them(
    conn: Connection, now: datetime
) -> None:
    conn.execute(sa.insert(dirty_users), [{"stage": "rules", "user_id": "u1"}])
    run(conn, now, triggers=("time_based",))
    assert conn.scalar(sa.select(sa.func.count()).select_from(dirty_users)) == 1
    run(conn, now)
    assert conn.scalar(sa.select(sa.func.count()).select_from(dirty_users)) == 0


def test_rules_that_take_the_word_of_a_model_that_is_not_trusted_are_held_and_no_others(
    conn: Connection, now: datetime
) -> None:
    risky = {"all": [SILENT, {"not": {"segment": "churnLevel", "op": "=", "value": "low"}}]}
    rule(conn, now, "risky", conditions=risky)
    rule(conn, now, "back")
    user(conn, "u1", silent=8)
    conn.execute(sa.insert(segments).values(user_id="u1", churn_level="high"))
    findings.record(conn, [Finding("churn_is_stable", False, "no", "churn")], TODAY, now)
    held = run(conn, now)
    assert (held.by_rule, held.held) == ({"back": 1}, ("risky",))
    findings.record(conn, [Finding("churn_is_stable", True, "yes", "churn")], TODAY, now)
    again = run(conn, now, everyone=False)
    assert (again.by_rule, again.held) == ({"risky": 1}, ())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"consent": {"dm": False}}, "no_consent"),
        ({"is_test": True}, "test_user"),
    ],
)
def test_a_guardrail_says_no_with_a_reason(
    conn: Connection, now: datetime, fields: Mapping[str, object], reason: str
) -> None:
    rule(conn, now, "back")
    user(conn, "u1", silent=8, **fields)
    report = run(conn, now)
    assert (report.proposed, report.skipped, reasons(conn)) == (0, {reason: 1}, [("u1", reason)])


def test_without_consent_by_default_only_those_who_agreed_are_proposed_to(conn: Connection, now: datetime) -> None:
    rule(conn, now, "back")
    user(conn, "u1", silent=8)
    user(conn, "u2", silent=8, consent={"dm": True})
    run(conn, now, limits=Limits("production", consent_by_default=False, caps=()))
    assert [user_id for user_id, _ in proposed(conn)] == ["u2"]


def test_a_transactional_rule_asks_for_no_consent_but_respects_suppression(conn: Connection, now: datetime) -> None:
    rule(conn, now, "back", messageClass="transactional")
    user(conn, "u1", silent=8, consent={"dm": False})
    user(conn, "u2", silent=8)
    conn.execute(sa.insert(suppressions).values(user_id="u2", channel="all", reason="complained"))
    run(conn, now)
    assert [user_id for user_id, _ in proposed(conn)] == ["u1"]
    assert reasons(conn) == [("u2", "suppressed")]


def test_who_paused_is_proposed_to_again_when_the_pause_is_over(conn: Connection, now: datetime) -> None:
    rule(conn, now, "back")
    for number, ends in enumerate((timedelta(minutes=-1), timedelta(minutes=1))):
        user(conn, f"u{number}", silent=8)
        pause = {"channel": "dm", "reason": "paused", "until": now + ends}
        conn.execute(sa.insert(suppressions).values(user_id=f"u{number}", **pause))
    run(conn, now)
    assert [user_id for user_id, _ in proposed(conn)] == ["u0"]
    assert reasons(conn) == [("u1", "suppressed")]


def test_when_the_daily_cap_bites_the_most_urgent_rules_win(conn: Connection, now: datetime) -> None:
    for name, priority in (("low", 2), ("high", 9), ("middle", 5)):
        rule(conn, now, name, priority=priority)
    user(conn, "u1", silent=8)
    report = run(conn, now)
    assert report.by_rule == {"high": 1, "middle": 1}
    assert report.skipped == {"daily_cap": 1}


def test_who_refused_a_topic_is_proposed_nothing_of_it_and_everything_else(conn: Connection, now: datetime) -> None:
    rule(conn, now, "course", topic="new courses")
    rule(conn, now, "mail", topic="new courses", actionType="email", actionData={"subject": "Hi", "content": "Hi"})
    rule(conn, now, "back")
    for user_id in ("u1", "u2"):
        user(conn, user_id, silent=8)
    conn.execute(sa.insert(refused_topics).values(user_id="u1", channel="dm", topic="new courses"))
    report = run(conn, now, limits=replace(LIMITS, caps=()))
    assert (report.by_rule, reasons(conn)) == ({"course": 1, "mail": 2, "back": 2}, [("u1", "topic_refused")])
    topics = conn.execute(sa.select(actions.c.triggered_by, actions.c.topic).where(actions.c.user_id == "u2"))
    assert {row.triggered_by: row.topic for row in topics} == {
        "course": "new courses",
        "mail": "new courses",
        "back": None,
    }


def test_who_wants_fewer_is_proposed_the_most_urgent_of_a_week_on_that_channel(conn: Connection, now: datetime) -> None:
    for name, priority in (("low", 2), ("high", 9)):
        rule(conn, now, name, priority=priority, cooldown=0)
    rule(conn, now, "mail", actionType="email", actionData={"subject": "Hi", "content": "Hi"})
    rule(conn, now, "receipt", priority=1, messageClass="transactional")
    for user_id in ("u1", "u2"):
        user(conn, user_id, silent=8)
    conn.execute(sa.insert(fewer_wanted).values(user_id="u1", channel="dm"))
    everything = replace(LIMITS, caps=())
    report = run(conn, now, limits=everything)
    assert (report.by_rule, reasons(conn)) == (
        {"high": 2, "mail": 2, "receipt": 2, "low": 1},
        [("u1", "fewer")],
    )
    assert run(conn, now + timedelta(days=1), limits=everything).by_rule == {}
    high = sa.and_(actions.c.user_id == "u1", actions.c.triggered_by == "high")
    conn.execute(sa.update(actions).where(high).values(created_at=now - timedelta(days=7)))
    assert run(conn, now + timedelta(hours=1), limits=everything).by_rule == {"low": 1}


def test_a_cooldown_holds_the_next_cause_and_after_it_the_newer_proposal_supersedes(
    conn: Connection, now: datetime
) -> None:
    rule(conn, now, "cheer", trigger="event_based", conditions={"event": "quiz_pass", "within_days": 3}, cooldown=24)
    event(conn, now, "u1", "quiz_pass", "m1")
    run(conn, now)
    later = now + timedelta(hours=20)
    event(conn, later, "u1", "quiz_pass", "m2")
    assert run(conn, later).skipped == {"cooldown": 1}
    report = run(conn, now + timedelta(hours=25))
    assert (report.proposed, report.superseded) == (1, 1)
    states = conn.execute(sa.select(actions.c.cause, actions.c.status).order_by(actions.c.id)).all()
    assert states == [("m1", "superseded"), ("m2", "pending")]


def test_max_per_user_counts_what_was_approved(conn: Connection, now: datetime) -> None:
    rule(
        conn,
        now,
        "cheer",
        trigger="event_based",
        conditions={"event": "quiz_pass", "within_days": 3},
        cooldown=0,
        maxPerUser=1,
    )
    event(conn, now, "u1", "quiz_pass", "m1")
    run(conn, now)
    conn.execute(sa.update(actions).values(status="approved", approved_hash=actions.c.content_hash))
    event(conn, now + timedelta(days=1), "u1", "quiz_pass", "m2")
    assert run(conn, now + timedelta(days=1)).skipped == {"max_per_user": 1}


def test_a_segment_change_fires_once_and_a_first_classification_after_an_import_never(
    conn: Connection, now: datetime
) -> None:
    rule(conn, now, "risk", trigger="segment_based", conditions={"segment": "churnRisk", "op": ">=", "value": 60})
    for user_id, baseline, old in (("u1", None, None), ("u2", now, None), ("u3", now, "low"), ("u4", now, "low")):
        user(conn, user_id, baseline_at=baseline)
        conn.execute(sa.insert(segments).values(user_id=user_id, churn_risk=0.595, churn_level="high"))
        changed = now + timedelta(hours=-1 if user_id == "u4" else 1)
        conn.execute(
            sa.insert(segment_changes).values(
                user_id=user_id, field="churn_level", old=old, new="high", as_of=TODAY, changed_at=changed
            )
        )
    run(conn, now + timedelta(hours=2))
    assert [user_id for user_id, _ in proposed(conn)] == ["u1", "u3"]
    run(conn, now + timedelta(days=1))
    assert len(proposed(conn)) == 2


def test_an_old_silence_is_reached_by_a_rule_switched_on_today_and_not_by_one_that_slept_through_it(
    conn: Connection, now: datetime
) -> None:
    user(conn, "u1", silent=20)
    user(conn, "u2", silent=8)
    rule(conn, now - timedelta(days=10), "old rule", maxPerUser=1)
    rule(conn, now, "new rule")
    report = run(conn, now)
    assert report.by_rule == {"old rule": 1, "new rule": 2}
    assert {cause for user_id, cause in proposed(conn) if user_id == "u1"} == {"activity@2026-02-12>=7"}


def test_an_import_proposes_nothing(conn: Connection, now: datetime) -> None:
    rule(conn, now, "back")
    user(conn, "u1", silent=300, baseline_at=now - timedelta(hours=1))
    user(conn, "u2", silent=7, baseline_at=now - timedelta(hours=1))
    user(conn, "u3", silent=7, baseline_at=now - timedelta(days=3))
    run(conn, now)
    assert [user_id for user_id, _ in proposed(conn)] == ["u3"]


def test_a_tag_rule_sets_and_removes_tags_without_any_action(conn: Connection, now: datetime) -> None:
    rule(conn, now, "mark", actionType="tag", actionData={"tag": "quiet"})
    user(conn, "u1", silent=8)
    report = run(conn, now)
    assert (report.tagged, report.proposed) == (1, 0)
    tag = conn.execute(sa.select(user_tags)).one()
    assert (tag.user_id, tag.tag, tag.set_by) == ("u1", "quiet", "mark")
    rule(
        conn, now, "unmark", actionType="tag", actionData={"tag": "quiet", "remove": True}, priority=9,
        conditions={"all": [SILENT, {"tag": "quiet"}]},
    )  # fmt: skip
    run(conn, now)
    assert conn.execute(sa.select(user_tags)).all() == []


def test_progress_and_course_are_facts_of_the_text(conn: Connection, now: datetime) -> None:
    conn.execute(sa.insert(courses).values(id="c1", title="Calm mornings"))
    user(conn, "u1")
    conn.execute(
        sa.insert(activity).values(
            user_id="u1", last_active_on=TODAY - timedelta(days=9), course_id="c1", lessons_done=3, lessons_in_course=10
        )
    )
    text = "{{ course_title or '?' }}: {{ lessons_done or 0 }} done, {{ lessons_left or 0 }} left"
    rule(conn, now, "back", actionData={"content": text})
    run(conn, now)
    assert conn.scalar(sa.select(actions.c.content)) == "Calm mornings: 3 done, 7 left"


def test_an_expired_or_switched_off_rule_does_not_fire(conn: Connection, now: datetime) -> None:
    rule(conn, now, "over", expiresAt=datetime(2026, 3, 1, tzinfo=UTC).isoformat())
    rule(conn, now, "off", isActive=False)
    user(conn, "u1", silent=8)
    assert run(conn, now).rules == 0
