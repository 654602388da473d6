"""What would have become of past firings: proposed once a cause, or held back, as guardrails say day after day.

A proposal today decides what is held back tomorrow, so days are gone through in their order. Every proposal counts as
approved: whether somebody would have approved it, nobody knows. Who may not be written to at all is asked of people as
they are today. Reasons are those of `guardrails.py`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY, start_of
from oracle_lib.decide import guardrails, past_experiments
from oracle_lib.decide.as_of_state import written_out
from oracle_lib.decide.caps import FEWER, GONE_OUT, Cap
from oracle_lib.decide.definition import HOLDOUT, Definition
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.past_days import PastDay
from oracle_lib.decide.past_experiments import Drawn
from oracle_lib.decide.past_firing import past_fired
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.storage.publish import scratch_table
from oracle_lib.storage.tables import actions, fewer_wanted

_UNCAPPED = ("alert", "tag")
_WEEK = timedelta(days=7)
# The users in `past_fired`.
_FIRED_FOR = sa.table("fired_for", sa.column("user_id", sa.Text))


class Firing(NamedTuple):
    """A rule fired for a user on a day, for a cause."""

    day: date
    user_id: str
    cause: str


class HeldBack(NamedTuple):
    """A firing that guardrails would have refused, and why."""

    day: date
    user_id: str
    cause: str
    reason: str


class FiredOn(NamedTuple):
    """For whom a rule fired on a day, and the cause of each."""

    day: date
    user_ids: Sequence[str]
    causes: Sequence[str]


@dataclass(slots=True)
class History:
    """What a user had of the rule so far: the newest proposal, the times of those approved, and the causes answered."""

    last: datetime | None = None
    times: list[datetime] = field(default_factory=list)
    causes: set[str] = field(default_factory=set)

    def add(self, cause: str, at: datetime, *, approved: bool = True) -> None:
        """Take in a proposal, the newest so far."""
        self.last = at
        self.causes.add(cause)
        if approved:
            self.times.append(at)


_NOTHING = History()


@dataclass(frozen=True)
class Other:
    """A proposal of another rule: the more urgent has the lower `rank`; `capped` ones take a place of the day."""

    rule: str
    at: datetime
    rank: tuple[int, UUID]
    channel: str
    capped: bool


@dataclass(frozen=True)
class Known:
    """What is known beside the firings, by user: why they may not be written to, and what was proposed to them.

    `own` is of the rule and before the run, `others` of other rules. `drawn` are the rule's experiments in their order,
    `held_out` who gets nothing by each. `fewer` are those who asked for fewer messages on the rule's channel.
    """

    refused: Mapping[str, str]
    own: dict[str, History]
    others: Mapping[str, Sequence[Other]]
    drawn: Sequence[Drawn]
    held_out: Mapping[UUID, frozenset[str]]
    fewer: frozenset[str]


def firings(conn: Connection) -> list[FiredOn]:
    """Return what is in `past_fired`, in the order of days."""
    f = past_fired.c
    query = sa.select(f.as_of, sa.func.array_agg(f.user_id), sa.func.array_agg(f.cause)).group_by(f.as_of)
    return [FiredOn(*row) for row in conn.execute(query.order_by(f.as_of))]


def learn(conn: Connection, rule: Rule, days: Sequence[PastDay], limits: Limits, drawn: Sequence[Drawn]) -> Known:
    """Read what is known of the users in `past_fired`."""
    everyone = sa.select(past_fired.c.user_id).distinct()
    scratch_table(conn, _FIRED_FOR.name, written_out(everyone))
    return Known(
        refused=_refused(conn, rule.definition, limits),
        own=_own(conn, rule.id, start_of(days[0].as_of)),
        others=_others(conn, rule.id, days[0].as_of, days[-1].as_of),
        drawn=drawn,
        held_out=past_experiments.held_out(conn, drawn, _FIRED_FOR),
        fewer=_wanting_fewer(conn, rule.definition),
    )


def judge(
    found: Iterable[FiredOn], rule: Rule, days: Sequence[PastDay], known: Known, limits: Limits
) -> tuple[list[Firing], list[HeldBack]]:
    """Return the firings, given in the order of days, that would have been proposed, and those held back.

    A tag is set without asking. What was answered before is neither proposed nor held back. After its end a rule is not
    asked. Changes `known.own`.
    """
    asks = {day.as_of: _Asking(rule, day, known, limits) for day in days if not _is_over(rule, day)}
    proposed: list[Firing] = []
    held: list[HeldBack] = []
    for as_of, user_ids, causes in found:
        asked = asks.get(as_of)
        if asked is None:
            continue
        for user_id, cause in zip(user_ids, causes, strict=True):
            had = known.own.get(user_id, _NOTHING)
            if cause in had.causes:
                continue
            reason = asked.refuses(user_id, had)
            if reason is not None:
                held.append(HeldBack(as_of, user_id, cause, reason))
                continue
            proposed.append(Firing(as_of, user_id, cause))
            known.own.setdefault(user_id, History()).add(cause, asked.day.now)
    return proposed, held


def _is_over(rule: Rule, day: PastDay) -> bool:
    return rule.definition.expires_at is not None and day.now >= rule.definition.expires_at


@dataclass(frozen=True)
class _Room:
    """How many messages a user may have had `since` a moment, for another to be allowed; `channel` None: on any."""

    reason: str
    channel: str | None
    since: datetime
    most: int


class _Asking:
    """What guardrails go by when a rule is asked on a day."""

    def __init__(self, rule: Rule, day: PastDay, known: Known, limits: Limits) -> None:
        self.day = day
        self._said, self._known = rule.definition, known
        # Rules that were asked in the same run came before this one if they are more urgent.
        self._place = (-self._said.priority, rule.id)
        # A proposal after that is too fresh for another.
        self._cooled = day.now - timedelta(hours=self._said.cooldown)
        self._rooms = list(self._found(limits.caps))
        self._rooms_of_few = [*self._found([FEWER]), *self._rooms]
        ran = past_experiments.running(known.drawn, day.now)
        self._held_out = frozenset[str]().union(*(known.held_out[one.id] for one in ran))

    def refuses(self, user_id: str, had: History) -> str | None:
        """Return why somebody with a history gets nothing, if so."""
        if self._said.action_type == "tag":
            return None
        if user_id in self._known.refused:
            return self._known.refused[user_id]
        if had.last is not None and had.last > self._cooled:
            return "cooldown"
        if self._said.max_per_user is not None and len(had.times) >= self._said.max_per_user:
            return "max_per_user"
        others = self._known.others.get(user_id, ())
        if others or had.times:
            rooms = self._rooms_of_few if user_id in self._known.fewer else self._rooms
            full = next((room.reason for room in rooms if self._is_full(room, had, others)), None)
            if full is not None:
                return full
        return HOLDOUT if user_id in self._held_out else None

    def _found(self, caps: Iterable[Cap]) -> Iterator[_Room]:
        """Yield the room that caps leave to messages of the rule's kind."""
        said, now = self._said, self.day.now
        if said.message_class != "marketing" or said.action_type in _UNCAPPED:
            return
        for cap in caps:
            channel = said.action_type if cap.wanted else cap.channel
            if channel in (None, said.action_type):
                since = start_of(now.date()) if cap.span == "day" else now - _WEEK
                yield _Room(cap.reason, channel, since, cap.most)

    def _is_full(self, room: _Room, had: History, others: Sequence[Other]) -> bool:
        taken = sum(at >= room.since for at in had.times)
        return taken + sum(self._took(one, room) for one in others) >= room.most

    def _took(self, one: Other, room: _Room) -> bool:
        if not one.capped or room.channel not in (None, one.channel):
            return False
        day = self.day
        return room.since <= one.at < day.now or (day.now <= one.at <= day.written and one.rank < self._place)


def _refused(conn: Connection, rule: Definition, limits: Limits) -> dict[str, str]:
    kind = (
        sa.literal(rule.action_type).label("action_type"),
        sa.literal(rule.message_class).label("message_class"),
        sa.literal(rule.topic, sa.Text).label("topic"),
    )
    people = sa.select(_FIRED_FOR.c.user_id, *kind).subquery("asked")
    asked = sa.select(people.c.user_id, guardrails.person_refused(people, limits).label("reason")).subquery()
    refused = conn.execute(sa.select(asked.c.user_id, asked.c.reason).where(asked.c.reason.is_not(None)))
    return {row.user_id: row.reason for row in refused}


def _wanting_fewer(conn: Connection, rule: Definition) -> frozenset[str]:
    asked = sa.select(fewer_wanted.c.user_id).where(
        fewer_wanted.c.channel == rule.action_type, fewer_wanted.c.user_id.in_(sa.select(_FIRED_FOR.c.user_id))
    )
    return frozenset(conn.scalars(asked))


def _own(conn: Connection, rule_id: UUID, began: datetime) -> dict[str, History]:
    a = actions.c
    rows = sa.select(a.user_id, a.cause, a.created_at, a.status.in_(GONE_OUT)).where(
        a.rule_id == rule_id, a.created_at < began, a.user_id.in_(sa.select(_FIRED_FOR.c.user_id))
    )
    found: defaultdict[str, History] = defaultdict(History)
    for user_id, cause, at, approved in conn.execute(rows.order_by(a.created_at)):
        found[user_id].add(cause, at, approved=approved)
    return dict(found)


def _others(conn: Connection, rule_id: UUID, first: date, last: date) -> dict[str, list[Other]]:
    a = actions.c
    capped = sa.and_(a.message_class == "marketing", a.action_type.not_in(_UNCAPPED))
    rows = sa.select(a.user_id, a.triggered_by, a.created_at, a.priority, a.rule_id, a.action_type, capped).where(
        a.rule_id.is_not(None),
        a.rule_id != rule_id,
        a.created_at >= start_of(first) - _WEEK,
        a.created_at < start_of(last) + DAY,
        a.user_id.in_(sa.select(_FIRED_FOR.c.user_id)),
    )
    found: defaultdict[str, list[Other]] = defaultdict(list)
    for user_id, name, at, priority, other_id, channel, counts in conn.execute(rows):
        found[user_id].append(Other(name, at, (-priority, other_id), channel, counts))
    return dict(found)
