"""Why somebody did not get it, and how many would: read from the same conditions and causes that decide."""

from datetime import date, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import caps, conditions, decider, definition, rule_life, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.reach import reach
from oracle_lib.decide.why_not import WhyNot, why_not
from oracle_lib.errors import NotFound
from oracle_lib.storage.tables import actions, activity, assignments, segments, skips, users

TODAY = date(2026, 3, 4)
LIMITS = Limits("production", consent_by_default=True, caps=caps.of(1, None, {}))
CONDITIONS = {
    "all": [
        {"days_since": {"event": "activity", "op": ">=", "value": 7}},
        {"not": {"segment": "lifecycle", "op": "=", "value": "lead"}},
    ]
}
BODY = {
    "name": "back",
    "trigger": "time_based",
    "conditions": CONDITIONS,
    "actionType": "dm",
    "actionData": {"content": "Hi"},
    "holdout": 0,
}


def rule(conn: Connection, now: datetime, **fields: object) -> UUID:
    return rules_engine.create(conn, definition.read({**BODY, **fields}), actor="anna", now=now).id


def user(conn: Connection, name: str, *, silent: int = 8, lifecycle: str = "active", **fields: object) -> None:
    conn.execute(sa.insert(users).values(id=name, **fields))
    conn.execute(sa.insert(activity).values(user_id=name, last_active_on=TODAY - timedelta(days=silent)))
    conn.execute(
        sa.insert(segments).values(user_id=name, engagement_level="active", engagement_score=50, lifecycle=lifecycle)
    )


def ask(conn: Connection, now: datetime, rule_id: UUID, name: str = "u1") -> WhyNot:
    return why_not(conn, name, rule_id, as_of=TODAY, now=now)


def run(conn: Connection, now: datetime) -> None:
    decider.propose(conn, as_of=TODAY, now=now, triggers=ALL_TRIGGERS, everyone=True, limits=LIMITS)


def codes(told: WhyNot) -> list[str]:
    return [one.code for one in told.answers]


def test_it_names_the_part_of_the_conditions_that_does_not_hold_and_what_was_found(
    conn: Connection, now: datetime
) -> None:
    made = rule(conn, now)
    user(conn, "u1", silent=3)
    told = ask(conn, now, made)
    assert (told.matches, told.cause, codes(told)) == (False, None, ["conditions"])
    assert [(one.place, one.holds) for one in told.conditions] == [
        ("conditions", False),
        ("conditions.all[0]", False),
        ("conditions.all[1]", True),
        ("conditions.all[1].not", False),
    ]
    assert told.conditions[1].found == {"days since activity": 3}
    assert told.conditions[3].found == {"lifecycle": "active"}


def test_who_would_be_next_hears_that_nothing_stands_in_the_way(conn: Connection, now: datetime) -> None:
    made = rule(conn, now)
    user(conn, "u1")
    told = ask(conn, now, made)
    assert (told.matches, told.cause, codes(told)) == (True, "activity@2026-02-24>=7", ["next_run"])


def test_what_was_proposed_already_is_said_with_what_became_of_it(conn: Connection, now: datetime) -> None:
    made = rule(conn, now)
    user(conn, "u1")
    run(conn, now)
    assert codes(ask(conn, now, made)) == ["no_cause", "proposed"]


def test_each_guardrails_no_is_told_in_words(conn: Connection, now: datetime) -> None:
    made = rule(conn, now)
    rule(conn, now, name="first", priority=9)
    user(conn, "u1")
    user(conn, "u2", consent={"dm": False})
    run(conn, now)
    told = ask(conn, now, made)
    assert codes(told) == ["daily_cap"]
    assert told.answers[0].at == now
    assert "more urgent" in told.answers[0].text
    assert codes(ask(conn, now, made, "u2")) == ["no_consent"]


def test_a_rule_that_is_off_or_over_says_so_first(conn: Connection, now: datetime) -> None:
    made = rule(conn, now, isActive=False, expiresAt=(now - timedelta(days=1)).isoformat())
    user(conn, "u1")
    assert codes(ask(conn, now, made)) == ["inactive", "expired"]


def test_a_rule_that_is_paused_or_deleted_says_since_when_and_why(conn: Connection, now: datetime) -> None:
    made = rule(conn, now)
    user(conn, "u1")
    rule_life.pause(conn, made, "The text is outdated.", actor="bea", now=now)
    rule_life.archive(conn, made, actor="bea", now=now)
    assert [(one.code, one.text, one.at) for one in ask(conn, now, made).answers] == [
        ("deleted", "The rule was deleted.", now),
        ("paused", "The rule is paused: The text is outdated.", now),
    ]


def test_asking_decides_nothing(conn: Connection, now: datetime) -> None:
    made = rule(conn, now, holdout=50)
    user(conn, "u1")
    ask(conn, now, made)
    for table in (actions, skips, assignments):
        assert conn.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_an_unknown_user_or_rule_is_not_found(conn: Connection, now: datetime) -> None:
    made = rule(conn, now)
    with pytest.raises(NotFound):
        ask(conn, now, made, "nobody")
    user(conn, "u1")
    with pytest.raises(NotFound):
        ask(conn, now, UUID(int=7))


def test_the_builder_is_told_how_many_users_each_part_holds_for(conn: Connection) -> None:
    user(conn, "u1")
    user(conn, "u2", silent=3)
    user(conn, "u3", lifecycle="lead")
    conn.execute(sa.insert(users).values(id="u4"))
    told = reach(conn, conditions.parse(CONDITIONS), TODAY)
    assert told.users == 4
    assert [(one.place, one.users) for one in told.nodes] == [
        ("conditions", 1),
        ("conditions.all[0]", 2),
        # Of u4 nothing is known: not being a lead is true of them.
        ("conditions.all[1]", 3),
        ("conditions.all[1].not", 1),
    ]
