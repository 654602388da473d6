"""Users as they stood at many past moments, in the place of the stored tables: the same questions, asked of the past.

All that a condition asks is about a user's days up to today. So each user on each past day is made a person of their
own, all of whose dates are moved by the same number of days, until the day that is asked for is `TODAY`. Queries that
do so stand in for the tables, and `matching.py`, `features.py` and the formulas of the models run on them unchanged: no
question has a second definition that could drift from the first.

What stood at the moment:

- days before it from the rollups, and of its own day what the raw events before it make;
- the levels of a segment as `segment_changes` kept them; what stood before the first change that is kept, and every
  other field, worked out from the days;
- traits with the later rows of `profile_changes` undone, and no tag that was set later;
- consent, the catalogue, models and settings as they are today.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, lru_cache

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.analyze import predictor, reasons
from oracle_lib.analyze.classifier import COUNTED, levels_expr, segment_expr
from oracle_lib.analyze.features import levels_state_expr, state_expr
from oracle_lib.analyze.targets import CHURN
from oracle_lib.decide import fields
from oracle_lib.decide.conditions import ACTIVITY
from oracle_lib.decide.past_days import TODAY, run_days
from oracle_lib.observe import catalogue
from oracle_lib.observe.activity import activity_expr, user_day_events_expr, user_days_expr, user_lessons_expr
from oracle_lib.observe.moments import OneDay
from oracle_lib.settings import Settings
from oracle_lib.storage import tables
from oracle_lib.storage.publish import compiled, composed_over, scanning, scratch_table
from oracle_lib.storage.relations import scratch
from oracle_lib.storage.tables.activity import EVENT_KINDS
from oracle_lib.storage.tables.base import Moment
from oracle_lib.storage.tables.users import TOLD, told

_ASKED = "asked_days"
# A user on one of the days, under a `key` of their own, and when they were last active where that was known before.
_OF_DAYS = [sa.column(one.name, one.type) for one in run_days.columns]
_WHO = (sa.column("key", sa.Text), sa.column("user_id", sa.Text), sa.column("last_active_on", sa.Date))
asked = sa.table(_ASKED, *_WHO, *_OF_DAYS)
# Fields of the segment whose every change is kept.
_KEPT = frozenset(field.column for field in fields.SEGMENT.values() if field.moves == field.column)
_FORETOLD = frozenset({*predictor.COLUMNS.values(), "churn_level", "churn_reason"})
# What conditions read of `activity`.
_LASTS = ("last_active_on", "last_lesson_on", "last_course_complete_on")
_ROLLUPS = {
    tables.user_days: user_days_expr,
    tables.user_day_events: user_day_events_expr,
    tables.user_lessons: user_lessons_expr,
}
_EVER = (date(1970, 1, 1), date(9999, 1, 1))
_EARLY, _EARLY_EVENTS, _RECKONED, _FORESEEN = "early_pairs", "early_events", "reckoned", "foreseen"


@dataclass(frozen=True)
class Past:
    """What stands in for the stored tables; every moment looks like the end of `TODAY`."""

    stand_ins: Mapping[str, str]

    def over(self, query: str) -> str:
        """Ask a query of the past."""
        return composed_over(query, self.stand_ins)


def ask(conn: Connection, pairs: sa.Select | sa.CompoundSelect) -> None:
    """Ask from now on about `pairs`, until the transaction ends or the next call.

    They have a user_id, an as_of of `run_days`, and last_active_on (None: not known).
    """
    found = pairs.subquery()
    who = (sa.cast(sa.func.row_number().over(), sa.Text).label("key"), found.c.user_id, found.c.last_active_on)
    days = run_days.join(found, found.c.as_of == run_days.c.as_of)
    scratch_table(conn, _ASKED, written_out(sa.select(*who, *run_days.columns).select_from(days)))


def look_back(
    conn: Connection,
    columns: Collection[str],
    *,
    settings: Settings,
    reach: int | None = None,
    last_active_is_known: bool = False,
) -> Past:
    """Make the past of whom it is asked about, with these `columns` of `segments`; `count_early` comes before.

    `reach` is how many days back the rollups are asked for, all of them if None and where a standing state counts.
    Where `last_active_is_known` of all, nothing else is asked of `activity`. Stands in temporary tables until the
    transaction ends or the next call.
    """
    # What is worked out of a segment rests on all days, however few the rest of a condition asks for.
    segments = written_out(_segments(conn, Past(_stand_ins(None)), sorted(columns), settings))
    known = {"activity": written_out(_last_active())} if last_active_is_known else {}
    return Past({**_stand_ins(reach), "segments": segments, **known})


def _stand_ins(reach: int | None) -> dict[str, str]:
    """Return all but `segments`; `activity` reads the days that stand in before it."""
    return {name: written_out(query) for name, query in _stored(reach).items()} | {"activity": _lasts()}


def _last_active() -> sa.Select:
    return sa.select(asked.c.key.label("user_id"), (asked.c.last_active_on + asked.c.shift).label("last_active_on"))


def kept_since(conn: Connection) -> datetime | None:
    """Return when the first change of a segment was kept; None: none is."""
    return conn.scalar(sa.select(sa.func.min(tables.segment_changes.c.changed_at)))


def kept_columns(conn: Connection) -> frozenset[str]:
    """Return the columns of `segments` that are kept of all `run_days`, so that they need not be worked out."""
    since = kept_since(conn)
    first = conn.scalar(sa.select(sa.func.min(run_days.c.written)))
    return _KEPT if since is not None and first is not None and first >= since else frozenset()


def written_out(query: sa.Select | sa.CompoundSelect) -> str:
    """Write a query over our own tables with its values in it, to be part of a larger one."""
    return str(query.compile(dialect=pg.dialect(), compile_kwargs={"literal_binds": True}))  # type: ignore[no-untyped-call]


def count_early(conn: Connection, events: Collection[str] | None) -> None:
    """Count what users did on an asked day before the moment, where its rollup holds what came after it too.

    `events` are those that count, None: all. It also serves whoever is asked about afterwards, if they are some of
    these.
    """
    days = tables.user_days.c
    began = sa.and_(asked.c.as_of > asked.c.whole, _came_early(events))
    same = sa.and_(days.user_id == asked.c.user_id, days.day == asked.c.as_of)
    pairs = sa.select(asked.c.user_id, asked.c.as_of.label("day"), asked.c.now).join(tables.user_days, same)
    scratch_table(conn, _EARLY, written_out(pairs.where(began)))
    early = sa.table(_EARLY, sa.column("user_id"), sa.column("day", sa.Date), sa.column("now", Moment))
    at = tables.events.c.created_at
    before = sa.and_(tables.events.c.user_id == early.c.user_id, at >= sa.cast(early.c.day, Moment), at < early.c.now)
    # The offset keeps it a look into one partition's index for each of these few, and not a scan of all days' events.
    of_one = sa.select(tables.events).where(before).offset(0).lateral()
    scratch_table(conn, _EARLY_EVENTS, written_out(sa.select(of_one).select_from(early.join(of_one, sa.true()))))
    kept = written_out(sa.select(sa.table(_EARLY_EVENTS, *map(sa.column, tables.events.columns.keys()))))
    for table in _ROLLUPS:
        scratch_table(conn, f"early_{table.name}", composed_over(_rollup_of_early(table), {"events": kept}))


def _came_early(events: Collection[str] | None) -> ColumnElement[bool]:
    """Say of a row of `user_days` whether one of the events may have come before the moment it is asked at."""
    days = tables.user_days.c
    own = days.first_acted_at < asked.c.now
    if events is None:
        return sa.or_(own, days.events > days.acted)
    passive = sorted(set(events) - {*catalogue.ACTED, ACTIVITY})
    if not set(passive) <= set(EVENT_KINDS):
        return sa.or_(own, days.events > days.acted)
    some = [own] if set(events) - set(passive) else []
    return sa.or_(sa.false(), *some, *(days[kind] > 0 for kind in passive))


@cache
def _rollup_of_early(table: sa.Table) -> str:
    who = scratch(_EARLY, {"user_id": "string", "day": "date"})
    return compiled(_ROLLUPS[table](*_EVER, who))


def _stored(reach: int | None) -> dict[str, sa.Select | sa.CompoundSelect]:
    """Return the queries that move stored rows, by the table they stand in for."""
    sent, came, made, tags = tables.actions, tables.outcomes, tables.segment_changes, tables.user_tags
    return {
        "users": _people(),
        "user_days": _days(tables.user_days, reach),
        "user_day_events": _days(tables.user_day_events, reach),
        "user_lessons": _days(tables.user_lessons, None),
        "user_tags": _moved(tags, tags.c.set_at <= asked.c.written),
        "segment_changes": _moved(made, made.c.changed_at <= asked.c.written),
        "actions": _moved(sent, sent.c.executed_at < asked.c.now, id=_own(sent.c.id)),
        "outcomes": _moved(came, came.c.at < asked.c.now, action_id=_own(came.c.action_id)),
    }


def _days(table: sa.Table, reach: int | None) -> sa.CompoundSelect:
    within = [] if reach is None else [sa.or_(asked.c.standing, table.c.day > asked.c.as_of - reach)]
    early = sa.table(f"early_{table.name}", *(sa.column(one.name, one.type) for one in table.columns))
    before = _moved(table, table.c.day <= asked.c.whole, *within)
    return sa.union_all(before, _moved(early, early.c.day == asked.c.as_of, asked.c.as_of > asked.c.whole))


def _people() -> sa.Select:
    """Return the users by key, with the traits they had."""
    change = tables.profile_changes.c
    name = sa.func.substr(change.field, len("traits.") + 1)
    later = (
        sa.select(asked.c.key, name.label("name"), change.old)
        .ext(pg.distinct_on(asked.c.key, change.field))
        .join(tables.profile_changes, change.user_id == asked.c.user_id)
        .where(change.changed_at > asked.c.written, sa.func.starts_with(change.field, "traits."))
        .order_by(asked.c.key, change.field, change.id)
        .subquery()
    )
    before = sa.func.jsonb_object_agg(later.c.name, later.c.old).label("traits")
    undone = sa.select(later.c.key, before).group_by(later.c.key).subquery()
    nothing = sa.cast(sa.literal("{}", sa.Text), pg.JSONB)
    users = tables.users
    traits = users.c.traits.op("||")(sa.func.coalesce(undone.c.traits, nothing))
    words = {column: told(traits, trait) for column, trait in TOLD.items()}
    people = _moved(users, on=users.c.id, id=asked.c.key, traits=traits, **words)
    return people.outerjoin(undone, undone.c.key == asked.c.key)


def _moved(
    table: sa.FromClause, *known: ColumnElement[bool], on: ColumnElement | None = None, **others: ColumnElement
) -> sa.Select:
    """Return the rows of asked users that were `known`, under their key and with their dates moved.

    `others` are columns that become something else.
    """
    values = {column.name: others.get(column.name, _shifted(column)) for column in table.columns}
    same = asked.c.user_id == (table.c.user_id if on is None else on)
    shown = [value.label(name) for name, value in values.items()]
    return sa.select(*shown).select_from(table.join(asked, same)).where(*known)


def _shifted(column: ColumnElement) -> ColumnElement:
    if column.key == "user_id":
        return asked.c.key
    match column.type:
        case sa.Date():
            return column + asked.c.shift
        case sa.DateTime():
            # Hours, not days: a day of some session's zone may have another length.
            return column + sa.func.make_interval(0, 0, 0, 0, asked.c.shift * 24)
        case _:
            return column


def _own(identity: ColumnElement) -> ColumnElement:
    """Return an id that is of one asked day alone."""
    return sa.func.concat(asked.c.key, ":", identity)


@cache
def _lasts() -> str:
    """Return what conditions read of `activity`."""
    return compiled(activity_expr(OneDay(TODAY)).select("user_id", *_LASTS))


def _segments(conn: Connection, past: Past, columns: Collection[str], settings: Settings) -> sa.Select:
    kept, since = kept_columns(conn), kept_since(conn)
    reckoned = [name for name in columns if name not in kept | _FORETOLD]
    foretold = [name for name in columns if name in _FORETOLD - kept]
    with scanning(conn):
        if reckoned:
            scratch_table(conn, _RECKONED, past.over(_reckoning(tuple(reckoned), settings)))
        if foretold:
            _foretell(conn, past)
    found: sa.FromClause = asked
    values: dict[str, ColumnElement] = {}
    for table, names in ((_RECKONED, reckoned), (_FORESEEN, foretold)):
        if names:
            rows = sa.table(table, sa.column("user_id"), *map(sa.column, names))
            found = found.outerjoin(rows, rows.c.user_id == asked.c.key)
            values |= {name: rows.c[name] for name in names}
    for name in columns:
        if name in _KEPT and since is not None:
            stood = _standing(name)
            then = sa.and_(stood.c.since <= asked.c.written, stood.c.until > asked.c.written)
            found = found.outerjoin(stood, sa.and_(stood.c.user_id == asked.c.user_id, then))
            before = asked.c.written < since
            values[name] = sa.case((before, values[name]), else_=stood.c.value) if name in values else stood.c.value
    return sa.select(asked.c.key.label("user_id"), *(values[name].label(name) for name in columns)).select_from(found)


@lru_cache(maxsize=64)
def _reckoning(columns: tuple[str, ...], settings: Settings) -> str:
    day = OneDay(TODAY)
    if set(columns) <= set(COUNTED):
        return compiled(levels_expr(levels_state_expr(day), settings).select("user_id", *columns))
    return compiled(segment_expr(state_expr(day), settings).select("user_id", *columns))


def _standing(field: str) -> sa.Subquery:
    """Return each value that a field of a segment had, with the time from `since` to `until` in which it stood."""
    change = tables.segment_changes.c
    following = sa.func.lead(change.changed_at).over(partition_by=change.user_id, order_by=change.id)
    return (
        sa.select(
            change.user_id,
            change.new.label("value"),
            change.changed_at.label("since"),
            sa.func.coalesce(following, sa.cast(sa.literal("infinity", sa.Text), Moment)).label("until"),
        )
        .where(change.field == field)
        .subquery(f"standing_{field}")
    )


def _foretell(conn: Connection, past: Past) -> None:
    """Say of each asked day what the models of today say of it."""
    models = predictor.promoted(conn)
    scratch_table(conn, predictor.ASKED, past.over(_features()))
    scratch_table(conn, predictor.SCORED, predictor.scores_sql(models))
    churn = models.get(CHURN.name)
    scratch_table(conn, reasons.TABLE, reasons.sql(churn.parameters if churn else None))
    scratch_table(conn, _FORESEEN, predictor.told_expr())


@cache
def _features() -> str:
    """Return what models ask of each asked day."""
    return compiled(predictor.asked_expr(predictor.so_far(levels_state_expr(OneDay(TODAY)))))
