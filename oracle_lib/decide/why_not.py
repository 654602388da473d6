"""Why a user did not get a rule's message, in words: the state of the rule, what its conditions found, what held it.

Everything is read and nothing decided: the same conditions and causes answer here as in a run, and a no that a
guardrail said stands in `skips`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import findings
from oracle_lib.decide import conditions, firing, matching, rule_records, rules_engine
from oracle_lib.decide.candidates import candidates
from oracle_lib.decide.conditions import Condition
from oracle_lib.decide.definition import HOLDOUT
from oracle_lib.decide.evidence import compared, evidence
from oracle_lib.decide.layout import Layout
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.errors import NotFound
from oracle_lib.storage import queue
from oracle_lib.storage.publish import compiled, run
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables import actions, skips, users

# What a guardrail's no means to a person who asks.
REASONS = {
    "unknown_user": "There is no profile to write to.",
    "test_user": "This is a test user, and this installation writes to real people only.",
    "environment": "This is not the production installation, so nobody real is written to.",
    "suppressed": "A message to this user bounced, or they complained, unsubscribed or paused.",
    "no_consent": "The user did not agree to this channel.",
    "topic_refused": "The user wants no more messages about the rule's topic on this channel.",
    "fewer": "The user asked for one message a week at most on this channel, and has had it.",
    "cooldown": "The rule reached this user too short ago.",
    "max_per_user": "The rule has reached this user as often as it may.",
    "daily_cap": "The user has had their messages of the day; more urgent rules went first.",
    "weekly_cap": "The user has had their messages of the last seven days; more urgent rules went first.",
    "channel_daily_cap": "The user has had the day's messages on this channel; more urgent rules went first.",
    "channel_weekly_cap": "The user has had the week's messages on this channel; more urgent rules went first.",
    HOLDOUT: "The user is held out, so that the others can be compared with them.",
    "template": "The text names a fact that is not known of this user.",
    "stopped": "Sending was stopped; the message waited.",
    "rule_paused": "The rule was paused because its messages bounced or were complained about; the message waited.",
    "hourly_cap": "The channel had sent its messages of the hour; the message waited.",
    "slow_start": "The rule began to write to many and goes step by step; the message waited.",
    "quiet_hours": "It was night where the user is; the message waited until morning.",
}
_RECENT_SKIPS = 20


@dataclass(frozen=True)
class Answer:
    """One reason: a word for programs and a sentence for people. `at` is when it was written down, if it was."""

    code: str
    text: str
    at: datetime | None = None


@dataclass(frozen=True)
class NodeAnswer:
    """One part of the rule's conditions, by its place, whether it holds for the user, and what was compared."""

    place: str
    condition: dict[str, object]
    holds: bool
    found: Mapping[str, object]


@dataclass(frozen=True)
class WhyNot:
    """Everything that stands between a user and a rule's message, what decides first; and the conditions, part by part.

    `cause` names what a proposal would answer now; None where nothing fires the rule.
    """

    user_id: str
    rule_id: UUID
    rule_name: str
    version: int
    matches: bool
    cause: str | None
    answers: tuple[Answer, ...]
    conditions: tuple[NodeAnswer, ...]


def why_not(conn: Connection, user_id: str, rule_id: UUID, *, as_of: date, now: datetime) -> WhyNot:
    """Say why a user has not got what a rule proposes. Raises `NotFound` for an unknown user or rule."""
    if conn.scalar(sa.select(users.c.id).where(users.c.id == user_id)) is None:
        raise NotFound(f"There is no user {user_id!r}.")
    rule = rules_engine.get(conn, rule_id)
    people = relation(users)
    alone = people.filter(people.id == ibis.literal(user_id)).select(user_id=people.id)
    judged = _judged(conn, rule, as_of, alone)
    firing.fire(conn, [rule], as_of=as_of, now=now, among=alone)
    cause = conn.scalar(sa.select(candidates.c.cause))
    answers = [*_of_the_rule(conn, rule, now), *_of_the_user(judged, cause), *_written_down(conn, user_id, rule)]
    if not answers:
        answers = [Answer("next_run", "Nothing stands in the way: the next run proposes it.")]
    return WhyNot(
        user_id=user_id,
        rule_id=rule.id,
        rule_name=rule.definition.name,
        version=rule.version,
        matches=judged[0].holds,
        cause=cause,
        answers=tuple(answers),
        conditions=tuple(judged),
    )


def _judged(conn: Connection, rule: Rule, as_of: date, alone: ibis.Table) -> list[NodeAnswer]:
    parts = conditions.nodes(rule.definition.conditions)
    columns = {f"node_{number}": part for number, (_, part) in enumerate(parts)}
    judged = matching.judged(columns, as_of, alone, standing=queue.is_standing(conn, "activity", as_of))
    row = dict(run(conn, compiled(judged)).mappings().one())
    layout = Layout.of(columns)
    return [
        NodeAnswer(place, conditions.wire(part), bool(row[column]), _found(part, layout, row, as_of))
        for column, (place, part) in zip(columns, parts, strict=True)
    ]


def _found(part: Condition, layout: Layout, row: Mapping[str, object], as_of: date) -> Mapping[str, object]:
    return {} if len(conditions.nodes(part)) > 1 else evidence(compared(part, layout, as_of), row)


def _of_the_rule(conn: Connection, rule: Rule, now: datetime) -> list[Answer]:
    said, record = rule.definition, rule_records.get(conn, rule.id)
    made: list[Answer] = []
    if record.archived_at is not None:
        made.append(Answer("deleted", "The rule was deleted.", record.archived_at))
    if record.paused_at is not None:
        made.append(Answer("paused", f"The rule is paused: {record.pause_reason}", record.paused_at))
    if not said.is_active:
        made.append(Answer("inactive", "The rule is switched off."))
    if said.expires_at is not None and said.expires_at <= now:
        made.append(Answer("expired", f"The rule ended at {said.expires_at:%Y-%m-%d %H:%M} UTC."))
    if held := said.rests_on & findings.held_targets(conn):
        made.append(
            Answer("held", f"The rule rests on a model that is not trusted now ({', '.join(sorted(held))}); it waits.")
        )
    return made


def _of_the_user(judged: list[NodeAnswer], cause: str | None) -> list[Answer]:
    if not judged[0].holds:
        places = [one.place for one in judged[1:] if not one.holds] or [judged[0].place]
        return [Answer("conditions", f"The conditions do not hold for this user: see {', '.join(places[:5])}.")]
    if cause is None:
        return [
            Answer("no_cause", "The conditions hold, but nothing new has made them true that was not answered before.")
        ]
    return []


def _written_down(conn: Connection, user_id: str, rule: Rule) -> list[Answer]:
    """Return what became of the rule's newest proposal to the user, and the newest noes."""
    made = []
    newest = (
        sa.select(actions.c.status, actions.c.reason, actions.c.updated_at)
        .where(actions.c.rule_id == rule.id, actions.c.user_id == user_id)
        .order_by(actions.c.created_at.desc())
        .limit(1)
    )
    for status, reason, at in conn.execute(newest):
        because = f" ({reason})" if reason else ""
        made.append(Answer("proposed", f"The rule did propose it; that action is {status}{because}.", at))
    refused = (
        sa.select(skips.c.reason, skips.c.at)
        .where(skips.c.rule_id == rule.id, skips.c.user_id == user_id)
        .order_by(skips.c.at.desc(), skips.c.id.desc())
        .limit(_RECENT_SKIPS)
    )
    return [*made, *(Answer(reason, REASONS.get(reason, reason), at) for reason, at in conn.execute(refused))]
