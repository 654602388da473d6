"""Stops by itself what harms the sender's name: a rule or a channel whose messages bounce or are complained about.

Counted are the deliveries of the last day, and since a person last let it go on; mailbox providers begin to refuse a
sender at about the same rates. A rule is paused and what is approved of it waits (`rule_paused`); a channel is stopped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from oracle_lib.decide import rule_life
from oracle_lib.decide.guardrails import REPUTATION
from oracle_lib.execute import stops
from oracle_lib.storage.tables import actions, audit_log, outcomes, rules, sending_stops

# More than so many of a hundred, and only where so many were delivered; a single complaint is nobody's habit.
MOST_BOUNCED, BOUNCES_AMONG = 0.05, 100
MOST_COMPLAINED, COMPLAINTS_AMONG, FEWEST_COMPLAINTS = 0.001, 1_000, 2
_SPAN = timedelta(days=1)


@dataclass(frozen=True)
class Harm:
    """What became of the messages of a rule or a channel: how many of those `sent` bounced or were complained of."""

    what: str
    sent: int
    bounced: int
    complained: int

    @property
    def reason(self) -> str | None:
        """Say why to stop; None: it is no more than usual."""
        if self.sent >= BOUNCES_AMONG and self.bounced > MOST_BOUNCED * self.sent:
            return f"{self.bounced} of {self.sent} messages of the last day bounced"
        often = self.complained > MOST_COMPLAINED * self.sent and self.complained >= FEWEST_COMPLAINTS
        if self.sent >= COMPLAINTS_AMONG and often:
            return f"{self.complained} of {self.sent} messages of the last day were complained of"
        return None


def protect(conn: Connection) -> list[str]:
    """Pause rules and stop channels that do harm; return what was stopped and why. Time is the database's."""
    now = conn.scalars(sa.select(sa.func.now())).one()
    said = []
    for harm, reason in _harmful(conn, _rule_of_action(), now):
        rule_life.pause(conn, UUID(harm.what), reason, actor=REPUTATION, now=now)
        said.append(f"Rule {harm.what} is paused: {reason}.")
    for harm, reason in _harmful(conn, _channel_of_action(), now):
        stops.stop(conn, harm.what, reason=reason, actor=REPUTATION, now=now)
        said.append(f"Sending of {harm.what} is stopped: {reason}.")
    return said


def _harmful(conn: Connection, query: sa.Select, now: datetime) -> Iterator[tuple[Harm, str]]:
    for row in conn.execute(query, {"since": now - _SPAN}).all():
        harm = Harm(*row)
        if reason := harm.reason:
            yield harm, reason


def _rule_of_action() -> sa.Select:
    mine = rules.c.id == actions.c.rule_id
    going = sa.exists().where(mine, rules.c.paused_at.is_(None), rules.c.archived_at.is_(None))
    what = sa.cast(actions.c.rule_id, sa.Text)
    return _counted(what, since_verb="rule.resumed", prefix="rule:").where(going)


def _channel_of_action() -> sa.Select:
    going = sa.not_(sa.exists().where(sending_stops.c.scope == actions.c.action_type))
    return _counted(actions.c.action_type, since_verb="sending.resumed", prefix="sending:").where(going)


def _counted(what: ColumnElement[str], *, since_verb: str, prefix: str) -> sa.Select:
    """Count deliveries, bounces and complaints by what sent them."""
    resumed = (
        sa.select(sa.func.max(audit_log.c.at))
        .where(audit_log.c.subject == prefix + what, audit_log.c.verb == since_verb)
        .scalar_subquery()
    )
    since = sa.bindparam("since", type_=sa.DateTime(timezone=True))
    return (
        sa.select(what, sa.func.count(), _with_outcome("bounced"), _with_outcome("complained"))
        .where(actions.c.status == "executed", actions.c.executed_at > sa.func.greatest(since, resumed))
        .group_by(what)
    )


def _with_outcome(kind: str) -> ColumnElement[int]:
    found = sa.exists().where(outcomes.c.action_id == actions.c.id, outcomes.c.kind == kind)
    return sa.func.count().filter(found)
