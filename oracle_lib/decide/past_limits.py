"""What would have become of past firings: proposed once a cause, or held back, as guardrails say day after day.

A proposal today decides what is held back tomorrow, so days are gone through in their order. Every proposal counts as
approved: whether somebody would have approved it, nobody knows. Who may not be written to at all is asked of people as
they are today. Reasons are those of `guardrails.py`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY, start_of
from oracle_lib.decide import guardrails, past_experiments
from oracle_lib.decide.caps import FEWER, GONE_OUT, Cap
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.past_days import PastDay
from oracle_lib.decide.past_experiments import Drawn
from oracle_lib.decide.past_firing import past_fired
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.storage.tables import actions, fewer_wanted

_UNCAPPED = ("alert", "tag")
_WEEK = timedelta(days=7)


@dataclass(frozen=True, order=True)
class Firing:
    """A rule fired for a user on a day, for a cause."""

    day: date
    user_id: str
    cause: str


@dataclass(frozen=True)
class HeldBack:
    """A firing that guardrails would have refused, and why."""

    firing: Firing
    reason: str


@dataclass(frozen=True)
class Other:
    """A proposal of another rule: the more urgent has the lower `rank`; `capped` ones take a place of the day."""

    rule: str
    at: datetime
    rank: tuple[int, UUID]
    channel: str
    capped: bool


@dataclass
class History:
    """What a user had of the rule so far: the newest proposal, the times of those approved, and the causes answered."""

    last: datetime | None = None
    times: list[datetime] = field(default_factory=list)
    causes: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Known:
    """What is known beside the firings, by user: why they may not be written to, and what was proposed to them.

    `own` is of the rule and before the run, `others` of other rules. `drawn` are the rule's experiments in their order.
    `fewer` are those who asked for fewer messages on the rule's channel.
    """

    refused: Mapping[str, str]
    own: dict[str, History]
    others: Mapping[str, Sequence[Other]]
    drawn: Sequence[Drawn]
    fewer: frozenset[str]


def firings(conn: Connection) -> list[Firing]:
    """Return what is in `past_fired`, in the order of days."""
    f = past_fired.c
    return [Firing(*row) for row in conn.execute(sa.select(f.as_of, f.user_id, f.cause).order_by(f.as_of, f.user_id))]


def learn(conn: Connection, rule: Rule, days: Sequence[PastDay], limits: Limits, drawn: Sequence[Drawn]) -> Known:
    """Read what is known of the users in `past_fired`."""
    return Known(
        refused=_refused(conn, rule.definition, limits),
        own=_own(conn, rule.id, start_of(days[0].as_of)),
        others=_others(conn, rule.id, days[0].as_of, days[-1].as_of),
        drawn=drawn,
        fewer=_wanting_fewer(conn, rule.definition),
    )


def judge(
    found: Iterable[Firing], rule: Rule, days: Sequence[PastDay], known: Known, limits: Limits
) -> tuple[list[Firing], list[HeldBack]]:
    """Return the firings, given in the order of days, that would have been proposed, and those held back.

    A tag is set without asking. What was answered before is neither proposed nor held back. Changes `known.own`.
    """
    moments = {day.as_of: day for day in days}
    proposed: list[Firing] = []
    held: list[HeldBack] = []
    for one in found:
        had = known.own.setdefault(one.user_id, History())
        if one.cause in had.causes:
            continue
        day = moments[one.day]
        reason = None
        if rule.definition.action_type != "tag":
            others = known.others.get(one.user_id, ())
            caps = (FEWER, *limits.caps) if one.user_id in known.fewer else limits.caps
            reason = known.refused.get(one.user_id) or _too_much(rule, had, day, others, caps)
            reason = reason or past_experiments.held_out(known.drawn, one.user_id, day.now)
        if reason is not None:
            held.append(HeldBack(one, reason))
            continue
        proposed.append(one)
        had.last = day.now
        had.times.append(day.now)
        had.causes.add(one.cause)
    return proposed, held


def _too_much(rule: Rule, had: History, day: PastDay, others: Sequence[Other], caps: tuple[Cap, ...]) -> str | None:
    said = rule.definition
    if had.last is not None and had.last > day.now - timedelta(hours=said.cooldown):
        return "cooldown"
    if said.max_per_user is not None and len(had.times) >= said.max_per_user:
        return "max_per_user"
    if said.message_class != "marketing" or said.action_type in _UNCAPPED or not (others or had.times):
        return None
    return next((cap.reason for cap in caps if _is_full(cap, rule, had, day, others)), None)


def _is_full(cap: Cap, rule: Rule, had: History, day: PastDay, others: Sequence[Other]) -> bool:
    channel = rule.definition.action_type if cap.wanted else cap.channel
    if channel not in (None, rule.definition.action_type):
        return False
    since = start_of(day.now.date()) if cap.span == "day" else day.now - _WEEK
    # Rules that were asked in the same run came before this one if they are more urgent.
    place = (-rule.definition.priority, rule.id)
    ahead = [
        one
        for one in others
        if one.capped
        and channel in (None, one.channel)
        and (since <= one.at < day.now or (day.now <= one.at <= day.written and one.rank < place))
    ]
    return len(ahead) + sum(at >= since for at in had.times) >= cap.most


def _refused(conn: Connection, rule: Definition, limits: Limits) -> dict[str, str]:
    kind = (
        sa.literal(rule.action_type).label("action_type"),
        sa.literal(rule.message_class).label("message_class"),
        sa.literal(rule.topic, sa.Text).label("topic"),
    )
    people = sa.select(past_fired.c.user_id, *kind).distinct().subquery("asked")
    asked = sa.select(people.c.user_id, guardrails.person_refused(people, limits).label("reason")).subquery()
    refused = conn.execute(sa.select(asked.c.user_id, asked.c.reason).where(asked.c.reason.is_not(None)))
    return {row.user_id: row.reason for row in refused}


def _wanting_fewer(conn: Connection, rule: Definition) -> frozenset[str]:
    asked = sa.select(fewer_wanted.c.user_id).where(
        fewer_wanted.c.channel == rule.action_type, fewer_wanted.c.user_id.in_(sa.select(past_fired.c.user_id))
    )
    return frozenset(conn.scalars(asked))


def _own(conn: Connection, rule_id: UUID, began: datetime) -> dict[str, History]:
    a = actions.c
    rows = sa.select(a.user_id, a.cause, a.created_at, a.status.in_(GONE_OUT)).where(
        a.rule_id == rule_id, a.created_at < began, a.user_id.in_(sa.select(past_fired.c.user_id))
    )
    found: defaultdict[str, History] = defaultdict(History)
    for user_id, cause, at, approved in conn.execute(rows.order_by(a.created_at)):
        had = found[user_id]
        had.last = at
        had.times += [at] if approved else []
        had.causes.add(cause)
    return dict(found)


def _others(conn: Connection, rule_id: UUID, first: date, last: date) -> dict[str, list[Other]]:
    a = actions.c
    capped = sa.and_(a.message_class == "marketing", a.action_type.not_in(_UNCAPPED))
    rows = sa.select(a.user_id, a.triggered_by, a.created_at, a.priority, a.rule_id, a.action_type, capped).where(
        a.rule_id.is_not(None),
        a.rule_id != rule_id,
        a.created_at >= start_of(first) - _WEEK,
        a.created_at < start_of(last) + DAY,
        a.user_id.in_(sa.select(past_fired.c.user_id)),
    )
    found: defaultdict[str, list[Other]] = defaultdict(list)
    for user_id, name, at, priority, other_id, channel, counts in conn.execute(rows):
        found[user_id].append(Other(name, at, (-priority, other_id), channel, counts))
    return dict(found)
