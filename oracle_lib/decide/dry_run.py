"""A rule tried on past days: whom it would have been proposed to, by the state of each of those days. Nothing is sent.

A dry run writes no action, no skip and no counter, and asks no provider; all it makes are temporary tables. Over days
on which the live version was asked once a day, it proposes what production proposed, cause for cause (test:
`tests/unit/test_dry_run.py`); where it does not, an event came late, and `past_differences.py` names it. What it
cannot know stands in `notes`.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from heapq import nsmallest
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY
from oracle_lib.decide import (
    as_of_state,
    conditions,
    past_days,
    past_differences,
    past_experiments,
    past_firing,
    past_limits,
    rules_engine,
)
from oracle_lib.decide.conditions import HasTag, MessageCount
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.past_days import PastDay
from oracle_lib.decide.past_differences import Difference
from oracle_lib.decide.past_experiments import Drawn
from oracle_lib.decide.past_limits import Firing, HeldBack, Known
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.errors import Invalid
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import sealed_days

MAX_DAYS = 92


@dataclass(frozen=True)
class Sample:
    """One user who would have been proposed something, and what fired it."""

    user_id: str
    cause: str
    fired: Mapping[str, object]


@dataclass(frozen=True)
class DryDay:
    """One day: how many would have been proposed, held back by reason, and had an action of another rule that day."""

    day: date
    proposed: int
    held_back: Mapping[str, int]
    overlap: Mapping[str, int]
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Change:
    """Users whom only the draft, only the live version, or both would have reached on the days; some of them by id."""

    only_draft: int
    only_live: int
    both: int
    draft_samples: tuple[str, ...]
    live_samples: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """How a dry run of the live version differs from what was proposed on those days, and the first differences."""

    alike: int
    only_dry: int
    only_proposed: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class DryRun:
    """What a rule would have done on past days. `version` None: a draft, whose `change` is against the live version."""

    rule_id: UUID
    name: str
    version: int | None
    first: date
    last: date
    proposed: int
    users: int
    held_back: Mapping[str, int]
    days: tuple[DryDay, ...]
    change: Change | None
    production: Compared | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Tried:
    """One definition tried on the days."""

    days: Sequence[PastDay]
    known: Known
    proposed: list[Firing]
    held: list[HeldBack]


def run(
    conn: Connection,
    rule_id: UUID,
    first: date,
    last: date,
    *,
    now: datetime,
    settings: Settings,
    draft: Definition | None = None,
    samples: int = 5,
) -> DryRun:
    """Try the live version of a rule, or a `draft` of its next, on the days from `first` to `last`, both included.

    Up to `samples` users are named a day. Raises `NotFound`, and `Invalid` for days that are not over or too many.
    """
    _check(first, last, now)
    rule = rules_engine.get(conn, rule_id)
    said = draft or rule.definition
    days = past_days.between(first, last, said.trigger, None if draft else rule.published_at)
    drawn = past_experiments.of_rule(conn, rule_id, draft)
    tried = try_on(conn, replace(rule, definition=said), days, settings, drawn)
    return DryRun(
        rule_id=rule_id,
        name=said.name,
        version=None if draft else rule.version,
        first=first,
        last=last,
        proposed=len(tried.proposed),
        users=len(_users(tried)),
        held_back=dict(Counter(one.reason for one in tried.held)),
        days=_by_day(conn, said, tried, samples),
        production=None if draft else _compared(conn, rule, tried, samples),
        change=_change(conn, rule, tried, settings, samples) if draft else None,
        notes=_notes(conn, said, first),
    )


def try_on(conn: Connection, rule: Rule, days: Sequence[PastDay], settings: Settings, drawn: Sequence[Drawn]) -> Tried:
    """Return what a rule would have proposed and what guardrails would have held back on the days, in their order."""
    said = rule.definition
    past_firing.fire(conn, said, days, settings=settings)
    found = past_limits.firings(conn)
    limits = Limits.of(settings)
    known = past_limits.learn(conn, rule, days, limits, drawn)
    proposed, held = past_limits.judge(found, rule, days, known, limits)
    return Tried(days, known, proposed, held)


def _check(first: date, last: date, now: datetime) -> None:
    if first > last:
        raise Invalid(f"The days end on {last}, before they begin on {first}.", field="to", code="out_of_range")
    if last - first >= MAX_DAYS * DAY:
        raise Invalid(f"Ask for at most {MAX_DAYS} days at once.", field="from", code="out_of_range")
    if last >= now.date():
        raise Invalid("`to` must be a day that is over, in UTC.", field="to", code="out_of_range")


def _users(tried: Tried) -> set[str]:
    return {one.user_id for one in tried.proposed}


def _by_day(conn: Connection, rule: Definition, tried: Tried, samples: int) -> tuple[DryDay, ...]:
    proposed: defaultdict[date, list[Firing]] = defaultdict(list)
    for one in tried.proposed:
        proposed[one.day].append(one)
    held: defaultdict[date, Counter[str]] = defaultdict(Counter)
    for refused in tried.held:
        held[refused.day][refused.reason] += 1
    shown = _samples(
        conn, rule, tried.days, [one for of_day in proposed.values() for one in nsmallest(samples, of_day)]
    )
    return tuple(
        DryDay(
            day=day.as_of,
            proposed=len(proposed[day.as_of]),
            held_back=dict(held[day.as_of]),
            overlap=_overlap(tried.known, proposed[day.as_of]),
            samples=tuple(shown[day.as_of]),
        )
        for day in tried.days
    )


def _overlap(known: Known, proposed: Sequence[Firing]) -> dict[str, int]:
    """Count by name of another rule the users who got an action of it on the same day."""
    found: Counter[str] = Counter()
    for one in proposed:
        others = known.others.get(one.user_id)
        if others:
            found.update({other.rule for other in others if other.at.date() == one.day})
    return dict(found)


def _samples(
    conn: Connection, rule: Definition, days: Sequence[PastDay], chosen: Sequence[Firing]
) -> Mapping[date, list[Sample]]:
    told = past_firing.told(conn, rule, days, [(one.day, one.user_id) for one in chosen])
    found: defaultdict[date, list[Sample]] = defaultdict(list)
    for one in chosen:
        found[one.day].append(Sample(one.user_id, one.cause, told[one.day, one.user_id]))
    return found


def _change(conn: Connection, rule: Rule, draft: Tried, settings: Settings, samples: int) -> Change:
    """Compare with the live version as if that too had been published long ago: what stood already tells nothing."""
    days = past_days.between(draft.days[0].as_of, draft.days[-1].as_of, rule.definition.trigger, None)
    drawn = past_experiments.of_rule(conn, rule.id, None)
    here, there = _users(draft), _users(try_on(conn, rule, days, settings, drawn))
    added, gone = sorted(here - there), sorted(there - here)
    return Change(len(added), len(gone), len(here & there), tuple(added[:samples]), tuple(gone[:samples]))


def _compared(conn: Connection, rule: Rule, tried: Tried, samples: int) -> Compared | None:
    """Hold it against what was proposed on the days since the rule is there; None where it was not there on any."""
    days = [day for day in tried.days if day.now >= rule.created_at]
    if not days or rule.definition.action_type == "tag":
        return None
    really = past_differences.proposed(conn, rule.id, days)
    here = {one for one in tried.proposed if one.day >= days[0].as_of}
    apart = sorted(here ^ really)
    told = past_differences.tell(conn, apart[:samples], here)
    return Compared(len(here & really), len(here - really), len(really - here), told)


def _notes(conn: Connection, rule: Definition, first: date) -> tuple[str, ...]:
    """Say what is not of the past days, as far as it touches this rule."""
    notes = [
        "Consent, suppressions, topics refused, fewer messages wanted and test users are taken as they stand today.",
        "Every proposal counts as approved when its cooldown and the times per user are counted.",
    ]
    leaves = list(conditions.leaves(rule.conditions))
    if rule.holdout:
        notes.append("Who is held out is drawn as in the live version; a version with other words draws anew.")
    if any(isinstance(leaf, HasTag) for leaf in leaves):
        notes.append("Tags are taken as they stand today, without those set later; tags removed since are not seen.")
    if any(isinstance(leaf, MessageCount) for leaf in leaves):
        notes.append("Messages are those that were really sent, not those of this dry run.")
    if rule.rests_on:
        notes.append("Probabilities are those of today's models and no rule is held for a model that was not trusted.")
    if rule.trigger == "event_based":
        notes.append("Event rules are asked once a day, when it is over, not within seconds of each event.")
    if any(conditions.field_of(leaf) for leaf in leaves):
        notes += _of_segments(conn, first)
    sealed = conn.scalar(sa.select(sa.func.max(sealed_days.c.day)))
    if sealed is not None and sealed >= first:
        notes.append(f"Raw events are kept from {sealed + DAY} on: no event of a day before can fire a rule.")
    return tuple(notes)


def _of_segments(conn: Connection, first: date) -> list[str]:
    """Say from when on it is kept how segments changed, where that is not the case since before the `first` day."""
    since = as_of_state.kept_since(conn)
    if since is not None and since.date() < first:
        return []
    begin = f"Changes of segments are kept from {since.date()} on" if since else "No change of a segment is kept yet"
    return [f"{begin}: levels before are worked out of what users did, and no change before can fire a rule."]
