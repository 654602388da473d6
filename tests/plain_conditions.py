"""Conditions decided in plain Python over rows read out of the database, without looking at how the library does it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide.conditions import (
    ACTIVITY,
    All,
    AnyOf,
    Changed,
    Condition,
    CourseProgress,
    DaysSince,
    EventCount,
    EventSum,
    Followed,
    HasTag,
    Leaf,
    MessageCount,
    Not,
    PredictionIs,
    SegmentIs,
    TraitIs,
)
from oracle_lib.storage import tables

# What is read, to be copied to another engine too.
READ = (
    tables.users,
    tables.segments,
    tables.activity,
    tables.user_days,
    tables.user_day_events,
    tables.user_tags,
    tables.user_lessons,
    tables.lessons,
    tables.segment_changes,
    tables.actions,
    tables.outcomes,
)
_SEGMENT = {
    "engagementLevel": "engagement_level", "engagementScore": "engagement_score", "churnRisk": "churn_risk",
    "churnLevel": "churn_level", "churnReason": "churn_reason", "lifecycle": "lifecycle", "persona": "persona",
    "learningStyle": "learning_style", "ltv": "ltv", "valueSegment": "value_segment", "courseId": "course_id",
    "completionProb": "completion_prob", "upgradeProb": "upgrade_prob", "referralProb": "referral_prob",
    "bestContactTime": "best_contact_time", "bestChannel": "best_channel", "progress": "progress",
}  # fmt: skip
_PREDICTED = {
    "churn": "churnRisk", "completion": "completionProb", "upgrade": "upgradeProb", "referral": "referralProb",
}  # fmt: skip
_LADDERS = {
    "engagementLevel": ["lost", "dormant", "moderate", "active"],
    "churnLevel": ["low", "medium", "high", "critical"],
    "valueSegment": ["low", "medium", "high"],
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
}


@dataclass(frozen=True)
class Message:
    """One action that was carried out, and what came of it until when."""

    channel: str
    template: str | None
    day: date
    became: tuple[tuple[str, date], ...]


@dataclass
class Person:
    """One user as plain Python sees them."""

    id: str
    traits: dict[str, object]
    segment: Mapping[str, object] = field(default_factory=dict)
    last_active: date | None = None
    # What happened on which day: how often, and what it added up to.
    days: dict[str, dict[date, Any]] = field(default_factory=lambda: defaultdict(dict))
    changes: list[tuple[str, str | None, str | None, date]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    lessons: set[tuple[str, str, date]] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)


@dataclass
class Plain:
    """Everybody, the lessons of each course, and the day to look from."""

    people: list[Person]
    taught: dict[str, set[str]]
    today: date
    _held: dict[Leaf, frozenset[str]] = field(default_factory=dict)

    def holders(self, condition: Condition) -> frozenset[str]:
        """Return the ids of the users for whom a condition holds."""
        match condition:
            case All(parts):
                return frozenset.intersection(*map(self.holders, parts))
            case AnyOf(parts):
                return frozenset.union(*map(self.holders, parts))
            case Not(part):
                return frozenset(person.id for person in self.people) - self.holders(part)
            case _:
                if condition not in self._held:
                    ask = self._question(condition)
                    self._held[condition] = frozenset(person.id for person in self.people if ask(person))
                return self._held[condition]

    def _question(self, leaf: Leaf) -> Callable[[Person], bool]:
        match leaf:
            case SegmentIs(name, op, value):
                return lambda one: compared(segment(one, name), op, value)
            case PredictionIs(target, op, value):
                return lambda one: compared(segment(one, _PREDICTED[target]), op, value)
            case TraitIs(name, op, value):
                return lambda one: compared(trait(one.traits.get(name), value), op, value)
            case HasTag(tag):
                return lambda one: tag in one.tags
            case EventCount(event, within, op, value):
                return lambda one: compared(self._total(one, event, within), op, value)
            case EventSum(of, within, op, value):
                return lambda one: compared(Decimal(self._total(one, of, within)), op, value)
            case DaysSince(event, op, value):
                return lambda one: compared(self._days_since(one, event), op, value)
            case Changed():
                return lambda one: any(self._is(leaf, *change) for change in one.changes)
            case Followed():
                return lambda one: self._follows(leaf, one)
            case MessageCount(_, _, _, _, op, value):
                return lambda one: compared(sum(self._counts(leaf, message) for message in one.messages), op, value)
            case CourseProgress(course, op, value):
                return lambda one: compared(self._progress(one, course), op, value)

    def _inside(self, day: date, within: int | None) -> bool:
        return day <= self.today and (within is None or (self.today - day).days < within)

    def _total(self, one: Person, name: str, within: int | None) -> Any:
        return sum(n for day, n in one.days.get(name, {}).items() if self._inside(day, within))

    def _days_since(self, one: Person, event: str) -> int | None:
        if event == ACTIVITY:
            last = one.last_active
        else:
            last = max((day for day in one.days.get(event, ()) if day <= self.today), default=None)
        return None if last is None else (self.today - last).days

    def _is(self, leaf: Changed, name: str, old: str | None, new: str | None, day: date) -> bool:
        if name != _SEGMENT[leaf.field] or not self._inside(day, leaf.within_days):
            return False
        if (leaf.before is not None and old != leaf.before) or (leaf.after is not None and new != leaf.after):
            return False
        if leaf.steps == 0:
            return True
        ladder = _LADDERS[leaf.field]
        if old not in ladder or new not in ladder:
            return False
        climbed = ladder.index(cast("str", new)) - ladder.index(cast("str", old))
        return climbed >= leaf.steps if leaf.steps > 0 else climbed <= leaf.steps

    def _follows(self, leaf: Followed, one: Person) -> bool:
        then = {day for day in one.days.get(leaf.then, ()) if day <= self.today}
        for day in (day for day in one.days.get(leaf.first, ()) if self._inside(day, leaf.in_last_days)):
            window = [day + timedelta(days=n) for n in range(leaf.within_days)]
            came = any(one_day in then for one_day in window)
            if leaf.follows and came:
                return True
            if not leaf.follows and not came and window[-1] < self.today:
                return True
        return False

    def _counts(self, leaf: MessageCount, message: Message) -> bool:
        if message.channel not in {"email", "dm", "push"} or not self._inside(message.day, leaf.within_days):
            return False
        if leaf.channel not in {None, message.channel} or leaf.template not in {None, message.template}:
            return False
        kinds = {kind for kind, day in message.became if day <= self.today}
        seen = bool(kinds & {"opened", "clicked", "replied"})
        return {"sent": True, "opened": seen, "not_opened": not seen, "clicked": "clicked" in kinds}[leaf.what]

    def _progress(self, one: Person, course: str) -> int | None:
        taught = self.taught.get(course)
        if not taught:
            return None
        done = {lesson for of, lesson, day in one.lessons if of == course and day <= self.today and lesson in taught}
        return int(Decimal(100 * len(done)) / len(taught) + Decimal("0.5"))


def segment(one: Person, name: str) -> object:
    found = one.segment.get(_SEGMENT[name])
    if name in {"churnRisk", "completionProb", "upgradeProb", "referralProb"} and found is not None:
        return int(cast("float", found) * 100 + 0.5)
    return found


def trait(found: object, value: object) -> object:
    kind = type(value[0]) if isinstance(value, tuple) else type(value)
    if value is None:
        return found if isinstance(found, str | int | float) else None
    if isinstance(found, bool) or kind is bool:
        return found if isinstance(found, bool) and kind is bool else None
    return found if isinstance(found, str) == (kind is str) and isinstance(found, str | int | float) else None


def compared(found: object, op: str, value: object) -> bool:
    if value is None:
        return (found is None) == (op == "=")
    if found is None:
        return False
    if isinstance(found, Decimal):
        value = tuple(Decimal(str(one)) for one in value) if isinstance(value, tuple) else Decimal(str(value))
    return _COMPARE[op](found, value)


def read(conn: Connection, today: date) -> Plain:
    """Read everybody out of the database."""
    people = {row.id: Person(row.id, row.traits) for row in conn.execute(sa.select(tables.users))}

    def of_known(table: sa.Table) -> Iterable[tuple[Person, Mapping]]:
        rows = conn.execute(sa.select(table)).mappings()
        return [(people[row["user_id"]], row) for row in rows if row["user_id"] in people]

    for one, row in of_known(tables.segments):
        one.segment = row
    for one, row in of_known(tables.activity):
        one.last_active = row["last_active_on"]
    for one, row in of_known(tables.user_days):
        for name, value in row.items():
            if isinstance(value, int | Decimal) and value > 0:
                one.days[name][row["day"]] = value
    for one, row in of_known(tables.user_day_events):
        one.days[row["event"]][row["day"]] = row["n"]
    for one, row in of_known(tables.user_tags):
        one.tags.add(row["tag"])
    for one, row in of_known(tables.user_lessons):
        one.lessons.add((row["course_id"], row["lesson_id"], row["day"]))
    for one, row in of_known(tables.segment_changes):
        one.changes.append((row["field"], row["old"], row["new"], row["as_of"]))
    became = defaultdict(list)
    for row in conn.execute(sa.select(tables.outcomes)):
        became[row.action_id].append((row.kind, _day(row.at)))
    for one, row in of_known(tables.actions):
        if row["status"] == "executed":
            came = tuple(became[row["id"]])
            one.messages.append(Message(row["action_type"], row["template"], _day(row["executed_at"]), came))
    taught = defaultdict(set)
    for row in conn.execute(sa.select(tables.lessons)):
        taught[row.course_id].add(row.id)
    return Plain(list(people.values()), dict(taught), today)


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()
