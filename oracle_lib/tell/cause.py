"""What a proposal answered, read back from its cause: an event, a change of segment, or a silence.

A cause is a name, see `decide/firing.py`: the message id of an event, the id of a row of `segment_changes`, or the
anchor of a silence such as `login@2026-03-01>7`, or of what did not follow
(`lesson_start@2026-03-01!lesson_complete<3`); or the week of a next best action (`next_best@2026-W10`). The rule's
trigger says which; without one the shape does. Raw events go after retention; then the day's counts stand in for them,
and the step says so.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Row
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.clock import DAY, start_of
from oracle_lib.observe.catalogue import ACTED
from oracle_lib.observe.wire import LATE
from oracle_lib.storage.tables import events, segment_changes, user_days

_CHANGE = re.compile(r"(?:segment_change:)?(\d{1,18})")
_SILENCE = re.compile(r"([a-z][a-z0-9_]*)@(\d{4}-\d{2}-\d{2})?(>=|>|=)(\d+)")

_CHOSEN = re.compile(r"next_best@(\d{4}-W\d{2})")
_UNFOLLOWED = re.compile(r"([a-z][a-z0-9_]*)@(\d{4}-\d{2}-\d{2})!([a-z][a-z0-9_]*)<(\d+)")


@dataclass(frozen=True)
class Step:
    """One link of the chain. `at` None: not known; `reference` names the row it was read from."""

    kind: str
    at: datetime | None
    title: str
    detail: str
    reference: str


@dataclass(frozen=True)
class EventCause:
    """An event set it off."""

    message_id: str


@dataclass(frozen=True)
class ChangeCause:
    """A change of a segment field set it off."""

    change_id: int


@dataclass(frozen=True)
class SilenceCause:
    """So many days without an event set it off; `last_on` is the event's last day, None if it never happened."""

    event: str
    last_on: date | None
    threshold: str


@dataclass(frozen=True)
class UnfollowedCause:
    """`event` happened on a day, and `then` did not follow within so many days."""

    event: str
    day: date
    then: str
    within_days: int


@dataclass(frozen=True)
class ChosenCause:
    """Nothing set it off: it was the best thing to say in that ISO week."""

    week: str


Cause = ChosenCause | EventCause | ChangeCause | SilenceCause | UnfollowedCause


@dataclass(frozen=True)
class Kept:
    """What the proposal itself kept of the event that fired it, and when it was made."""

    proposed_at: datetime
    event: str | None = None
    at: datetime | None = None


def parse(cause: str, trigger: str | None = None) -> Cause:
    """Read a cause; whatever has no other shape, or belongs to an event rule, is a message id."""
    if chosen := _CHOSEN.fullmatch(cause):
        return ChosenCause(chosen[1])
    if trigger != "event_based":
        if change := _CHANGE.fullmatch(cause):
            return ChangeCause(int(change[1]))
        if silence := _SILENCE.fullmatch(cause):
            last_on = date.fromisoformat(silence[2]) if silence[2] else None
            return SilenceCause(silence[1], last_on, f"{silence[3]} {silence[4]} days")
        if gap := _UNFOLLOWED.fullmatch(cause):
            return UnfollowedCause(gap[1], date.fromisoformat(gap[2]), gap[3], int(gap[4]))
    return EventCause(cause)


def steps(conn: Connection, user_id: str, cause: Cause, kept: Kept) -> list[Step]:
    """Return the event, and the change of segment if there was one, that a proposal answered, in their order."""
    match cause:
        case ChosenCause(week):
            title = "Chosen as the next best action"
            return [
                Step("segment", kept.proposed_at, title, f"Once a week at most; this was {week}.", f"user:{user_id}")
            ]
        case EventCause(message_id):
            return [_event(conn, user_id, message_id, kept)]
        case ChangeCause(change_id):
            return _change(conn, user_id, change_id)
        case SilenceCause():
            return [_silence(conn, user_id, cause)]
        case UnfollowedCause():
            asked = f"The rule asked for no {cause.then} within {cause.within_days} days."
            return [_asked(_on_day(conn, user_id, cause.day, cause.event), asked)]


def _event(conn: Connection, user_id: str, message_id: str, kept: Kept) -> Step:
    near = kept.at or kept.proposed_at
    found = conn.execute(
        sa.select(events)
        .where(
            events.c.user_id == user_id,
            events.c.message_id == message_id,
            events.c.created_at >= near - LATE - DAY,
            events.c.created_at <= near + DAY,
        )
        .order_by(events.c.created_at.desc())
        .limit(1)
    ).one_or_none()
    if found is not None:
        return _told(found)
    detail = "The event itself is no longer kept; the counts of its day stand."
    return Step("event", kept.at, kept.event or "An event that is no longer kept", detail, f"event:{message_id}")


def _change(conn: Connection, user_id: str, change_id: int) -> list[Step]:
    change = conn.execute(
        sa.select(segment_changes).where(segment_changes.c.id == change_id, segment_changes.c.user_id == user_id)
    ).one_or_none()
    reference = f"segment_change:{change_id}"
    if change is None:
        return [Step("segment", None, "A change of segment that is no longer kept", "", reference)]
    moved = Step(
        "segment",
        change.changed_at,
        f"{_words(change.field)} became {change.new}",
        f"Worked out for {change.as_of}; before it was {change.old or 'not known'}.",
        reference,
    )
    last = _last_active_day(conn, user_id, change.as_of)
    return [moved] if last is None else [_on_day(conn, user_id, last, None), moved]


def _silence(conn: Connection, user_id: str, cause: SilenceCause) -> Step:
    if cause.last_on is None:
        detail = f"The rule asked for days since {cause.event} {cause.threshold}."
        return Step("event", None, f"No {cause.event} so far", detail, f"user:{user_id}")
    asked = f"The rule asked for days since {cause.event} {cause.threshold}."
    return _asked(_on_day(conn, user_id, cause.last_on, cause.event), asked)


def _asked(found: Step, asked: str) -> Step:
    return Step(found.kind, found.at, found.title, f"{found.detail} {asked}".strip(), found.reference)


def _last_active_day(conn: Connection, user_id: str, as_of: date) -> date | None:
    d = user_days.c
    newest = sa.select(sa.func.max(d.day)).where(d.user_id == user_id, d.day <= as_of, d.acted > 0)
    found: date | None = conn.scalar(newest)
    return found


def _on_day(conn: Connection, user_id: str, day: date, name: str | None) -> Step:
    """Return the day's last event called `name`, else the user's last own act, else the day's counts."""
    wanted = sa.bindparam("names", [*ACTED, *([name] if name else [])], type_=pg.ARRAY(sa.Text))
    found = conn.execute(
        sa.select(events)
        .where(
            events.c.user_id == user_id,
            events.c.created_at >= start_of(day),
            events.c.created_at < start_of(day) + DAY,
            events.c.event == sa.any_(wanted),
        )
        .order_by(events.c.event.is_not_distinct_from(name).desc(), events.c.created_at.desc())
        .limit(1)
    ).one_or_none()
    return _counts(conn, user_id, day) if found is None else _told(found)


def _counts(conn: Connection, user_id: str, day: date) -> Step:
    d = user_days.c
    found = conn.execute(
        sa.select(d.events, d.acted, d.last_acted_at).where(d.user_id == user_id, d.day == day)
    ).one_or_none()
    told = "no counts" if found is None else f"{found.events} events, {found.acted} of them the user's own"
    return Step(
        "event",
        None if found is None else found.last_acted_at,
        f"The events of {day}",
        f"The events themselves are no longer kept; the day's counts stand: {told}.",
        f"user_day:{user_id}@{day}",
    )


def _told(event: Row) -> Step:
    facts = {
        "course": event.course_id,
        "lesson": event.lesson_id,
        "amount": event.amount,
        "seconds": event.seconds,
        "source": event.source,
    }
    detail = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
    return Step("event", event.created_at, event.event, f"{detail}." if detail else "", f"event:{event.message_id}")


def _words(field: str) -> str:
    return field.replace("_", " ").capitalize()
