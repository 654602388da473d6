"""What conditions ask of the past beyond counts: changes of segment, sequences, messages, progress in courses.

Relations by user_id, each table aggregated once for all conditions; only a sequence reads the days of its two events
for itself. `users` (a relation with user_id) narrows what is read.
"""

from collections.abc import Mapping
from datetime import date, timedelta

import ibis

from oracle_lib.clock import DAY, start_of
from oracle_lib.decide import fields
from oracle_lib.decide.conditions import CHANNELS, Changed, Followed
from oracle_lib.decide.layout import Sent
from oracle_lib.decide.measures import before, day, days_of
from oracle_lib.storage import tables
from oracle_lib.storage.relations import relation

# Who clicked or replied has opened the message, whatever their mail program says.
_SEEN = ("opened", "clicked", "replied")


def changed(changes: Mapping[Changed, str], as_of: date, users: ibis.Table | None) -> ibis.Table:
    """Return for each asked change the last day it happened on, as `segment_changes.as_of` has it."""
    made = relation(tables.segment_changes)
    widest = max(leaf.within_days for leaf in changes)
    # No change is written before the day it is worked out for: `changed_at`, which has an index, bounds what is read.
    made = made.filter(made.changed_at >= ibis.literal(start_of(as_of - timedelta(days=widest - 1))))
    made = made.filter((made.as_of > before(as_of, widest)) & (made.as_of <= day(as_of)))
    made = made.filter(made.field.isin(sorted({fields.SEGMENT[leaf.field].column for leaf in changes})))
    made = _of(made, users)
    last = {column: made.as_of.max(where=_is(leaf, made, as_of)) for leaf, column in changes.items()}
    return made.group_by("user_id").aggregate(**last)


def _is(leaf: Changed, made: ibis.Table, as_of: date) -> ibis.Value:
    known = fields.SEGMENT[leaf.field]
    asked = (made.field == ibis.literal(known.column)) & (made.as_of > before(as_of, leaf.within_days))
    if leaf.before is not None:
        asked &= made.old == ibis.literal(leaf.before)
    if leaf.after is not None:
        asked &= made.new == ibis.literal(leaf.after)
    if leaf.steps > 0:
        asked &= _rung(made.new, known) - _rung(made.old, known) >= ibis.literal(leaf.steps)
    if leaf.steps < 0:
        asked &= _rung(made.old, known) - _rung(made.new, known) >= ibis.literal(-leaf.steps)
    return asked


def _rung(word: ibis.Value, known: fields.Field) -> ibis.Value:
    return word.cases(*((step, place) for place, step in enumerate(known.ladder)))


def followed(leaf: Followed, column: str, as_of: date, users: ibis.Table | None) -> ibis.Table:
    """Return the last day of `first` that `then` followed in time, or did not and the days for it are over."""
    first, then = _of(days_of(leaf.first), users), days_of(leaf.then)
    began, today = before(as_of, leaf.in_last_days), day(as_of)
    decided = today if leaf.follows else before(as_of, leaf.within_days)
    first = first.filter((first.day > began) & (first.day <= decided))
    then = then.filter((then.day > began) & (then.day <= today))
    in_time = [
        first.user_id == then.user_id,
        then.day >= first.day,
        then.day < first.day + ibis.interval(days=leaf.within_days),
    ]
    kept = first.semi_join(then, in_time) if leaf.follows else first.anti_join(then, in_time)
    return kept.group_by("user_id").aggregate(**{column: kept.day.max()})


def messaged(messages: Mapping[Sent, str], as_of: date, users: ibis.Table | None) -> ibis.Table:
    """Count the messages sent to each user: executed actions by the UTC day of their execution."""
    end = ibis.literal(start_of(as_of) + DAY)
    out = relation(tables.actions)
    out = out.filter((out.status == "executed") & out.action_type.isin(CHANNELS) & (out.executed_at < end))
    windows = [one.within_days for one in messages]
    bounds = [within for within in windows if within is not None]
    if len(bounds) == len(windows):
        out = out.filter(out.executed_at >= _midnight(as_of, max(bounds)))
    out = _of(out, users).select("id", "user_id", "action_type", "template", "executed_at")
    came = relation(tables.outcomes)
    came = came.filter(came.kind.isin(_SEEN) & (came.at < end))
    came = came.group_by("action_id").aggregate(seen=came.count(), clicks=came.count(where=came.kind == "clicked"))
    told = out.left_join(came, out.id == came.action_id)
    told = told.mutate(seen=told.seen.fill_null(0) > 0, clicked=told.clicks.fill_null(0) > 0)
    counts = {column: told.count(where=_became(one, told, as_of)) for one, column in messages.items()}
    return told.group_by("user_id").aggregate(**counts)


def _became(one: Sent, told: ibis.Table, as_of: date) -> ibis.Value:
    words = {"sent": ibis.literal(value=True), "opened": told.seen, "not_opened": ~told.seen, "clicked": told.clicked}
    asked = words[one.what]
    if one.channel is not None:
        asked &= told.action_type == ibis.literal(one.channel)
    if one.template is not None:
        asked &= told.template == ibis.literal(one.template)
    if one.within_days is not None:
        asked &= told.executed_at >= _midnight(as_of, one.within_days)
    return asked


def _midnight(as_of: date, within_days: int) -> ibis.Value:
    return ibis.literal(start_of(as_of - timedelta(days=within_days - 1)))


def lessons_done(courses: Mapping[str, str], as_of: date, users: ibis.Table | None) -> ibis.Table:
    """Count the distinct lessons of each course's catalogue that each user has completed."""
    done, taught = _of(relation(tables.user_lessons), users), _taught(courses)
    done = done.filter((done.day <= day(as_of)) & done.course_id.isin(list(courses)))
    known = done.semi_join(taught, [done.course_id == taught.course_id, done.lesson_id == taught.id])
    counts = {
        column: known.lesson_id.nunique(where=known.course_id == ibis.literal(course))
        for course, column in courses.items()
    }
    return known.group_by("user_id").aggregate(**counts)


def lessons_taught(courses: Mapping[str, str]) -> ibis.Table:
    """Return one row: how many lessons each course has, as `of_` and its column."""
    taught = _taught(courses)
    return taught.aggregate(
        **{
            f"of_{column}": taught.count(where=taught.course_id == ibis.literal(course))
            for course, column in courses.items()
        }
    )


def _taught(courses: Mapping[str, str]) -> ibis.Table:
    taught = relation(tables.lessons)
    return taught.filter(taught.course_id.isin(list(courses)))


def _of(rows: ibis.Table, users: ibis.Table | None) -> ibis.Table:
    return rows if users is None else rows.semi_join(users, "user_id")
