"""Which arm a user is in: some get nothing, some other words, so that what a rule brings about can be measured.

An experiment is one set of words, shares and goal of a rule; a version that changes one of these begins a new one, any
other leaves it running. The arm is a hash of experiment and user: always the same, and looked up nowhere. A user counts
from the first time the rule would have reached them, whatever then becomes of the message (intention to treat): that is
after the questions about the user, which are the same in every arm, and before anybody has seen the message.

Who is held out takes no place under the caps, and is asked them like everybody else. So whether a user counts depends
on rules that are more urgent, and never on the user's own arm.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.decide.definition import HOLDOUT, Definition, Goal, wire
from oracle_lib.storage.tables import experiments

# Whether the user did anything: what a rule without a goal is measured by.
ANY_ACTIVITY = "activity"
_NO_GOAL = Goal(ANY_ACTIVITY, 7)


@dataclass(frozen=True)
class ArmShare:
    """An arm, its percent of users, and the percent at which it ends; the arms lie one after the other."""

    arm: str
    share: int
    until: int


_DRAW = sa.text("""
    UPDATE candidates SET experiment_id = drawn.experiment_id, arm = drawn.arm
    FROM (
        SELECT c.rule_id, c.user_id, e.id AS experiment_id, placed.arm
        FROM candidates c
        JOIN experiments e ON e.rule_id = c.rule_id AND e.ended_at IS NULL
        CROSS JOIN LATERAL (
            SELECT a.arm FROM jsonb_to_recordset(e.arms) AS a (arm text, until int)
            WHERE CAST(CAST('x' || substr(md5(e.id || ':' || c.user_id), 1, 8) AS bit(32)) AS bigint) * 100
                < CAST(a.until AS bigint) << 32
            ORDER BY a.until LIMIT 1
        ) placed
        WHERE c.reason IS NULL
    ) drawn
    WHERE candidates.rule_id = drawn.rule_id AND candidates.user_id = drawn.user_id
""")

_EXPOSE = sa.text("""
    INSERT INTO assignments (experiment_id, user_id, arm, rule_version, cause, exposed_at)
    SELECT experiment_id, user_id, arm, rule_version, cause, :now
    FROM candidates WHERE experiment_id IS NOT NULL AND reason IS NULL
    ON CONFLICT DO NOTHING
""")

_HOLD_OUT = sa.text("UPDATE candidates SET reason = :holdout WHERE arm = :holdout AND reason IS NULL")


def follow_version(conn: Connection, rule_id: UUID, version: int, rule: Definition, now: datetime) -> None:
    """Begin what a newly published version measures, unless that is what is being measured already."""
    shares, goal, words = arms(rule), rule.goal or _NO_GOAL, _words_hash(rule)
    measured = sa.select(experiments).where(experiments.c.rule_id == rule_id, experiments.c.ended_at.is_(None))
    standing = conn.execute(measured).one_or_none()
    design = ([vars(one) for one in shares], words, goal.event, goal.within_days)
    if standing is not None:
        if design == (standing.arms, standing.words_hash, standing.goal_event, standing.goal_days):
            return
        conn.execute(sa.update(experiments).where(experiments.c.id == standing.id).values(ended_at=now))
    if len(shares) > 1:
        made = dict(zip(("arms", "words_hash", "goal_event", "goal_days"), design, strict=True))
        conn.execute(sa.insert(experiments).values(rule_id=rule_id, rule_version=version, started_at=now, **made))


def draw(conn: Connection) -> None:
    """Write each candidate's arm beside it, where its rule has an experiment."""
    conn.execute(_DRAW)


def expose(conn: Connection, now: datetime) -> None:
    """Count every candidate that is left as assigned, and hold out those whose arm gets nothing."""
    conn.execute(_EXPOSE, {"now": now})
    conn.execute(_HOLD_OUT, {"holdout": HOLDOUT})


def arms(rule: Definition) -> list[ArmShare]:
    """Return the arms of a rule in their order."""
    ends = accumulate(rule.shares.values())
    return [ArmShare(arm, share, until) for (arm, share), until in zip(rule.shares.items(), ends, strict=True)]


def arm_of(experiment_id: UUID, user_id: ColumnElement[str], shares: Sequence[ArmShare]) -> ColumnElement[str]:
    """Return the arm of a user, as `draw` draws it."""
    digest = sa.func.substr(sa.func.md5(sa.literal(f"{experiment_id}:") + user_id), 1, 8)
    place = sa.cast(sa.cast(sa.literal("x") + digest, pg.BIT(32)), sa.BigInteger) * 100
    *others, last = shares
    ends = [(place < one.until << 32, one.arm) for one in others]
    return sa.case(*ends, else_=last.arm) if ends else sa.literal(last.arm)


def _words_hash(rule: Definition) -> str:
    said = wire(rule)
    words = {name: said[name] for name in ("actionType", "actionData", "variants")}
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
