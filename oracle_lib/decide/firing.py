"""Which rules fire for whom, and the cause each proposal would answer: one scan, then one statement a rule.

A match alone proposes nothing: something must have made it true. That is the cause, and it is proposed once.

- event_based: the newest event that the conditions count, by its message id. Own deliveries (source
  `oracle`) never fire.
- segment_based: the newest change of a segment field that the conditions name, by its id in `segment_changes`.
- time_based: the anchor of the first `days_since`, by event, day and threshold (`login@2026-03-01>7`): once a silence.
  Or of the first sequence that asks what did not follow (`lesson_start@2026-03-01!lesson_complete<3`).

A cause counts while it is fresh, which is for two days: what a guardrail refused is tried again until then, and after a
longer pause nobody is flooded with what is long past. A version published within those two days also answers standing
states, however old: who switches on a win-back rule today means those who are silent now. Causes keep their names
across versions, so publishing again proposes nothing twice.

Nothing before the user's `baseline_at` is a cause, and with a baseline neither is a first classification: importing
years of history proposes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import ibis
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.decide import matching
from oracle_lib.decide.candidates import candidates
from oracle_lib.decide.conditions import DaysSince, Followed
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.layout import Layout
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.storage import queue
from oracle_lib.storage.publish import scratch_table
from oracle_lib.storage.tables import actions, events, segment_changes, users

FRESH = timedelta(days=2)
_AHEAD = timedelta(minutes=10)

# A temporary table of one run, beside `candidates`.
MATCHED = "matched"


@dataclass(frozen=True)
class Asked:
    """Of whom a rule's conditions hold, and when it is asked: values of one run, or columns where it is of many days.

    `rows` has a row for each of `each`, and `last`, the day that anchors a time rule. A cause is fresh after the moment
    `fresh_after`, or from the day `fresh_from` on; where `standing`, older ones count too. Nothing from after `until`
    or the day `as_of` is known, nor a change that was written after `written` (None: what is written is known).
    """

    rows: sa.FromClause
    each: tuple[ColumnElement, ...]
    holds: ColumnElement[bool]
    last: ColumnElement[date] | None
    standing: ColumnElement[bool]
    as_of: date | ColumnElement[date]
    fresh_after: datetime | ColumnElement[datetime]
    fresh_from: date | ColumnElement[date]
    until: datetime | ColumnElement[datetime]
    written: ColumnElement[datetime] | None = None


def column_of(rules: Sequence[Rule]) -> dict[Rule, str]:
    """Return the column of `matched` that says whether each rule's conditions hold."""
    return {rule: f"rule_{number}" for number, rule in enumerate(rules)}


def fire(conn: Connection, rules: Sequence[Rule], *, as_of: date, now: datetime, among: ibis.Table | None) -> int:
    """Fill the temporary tables `matched` and `candidates`; return how many users matched any rule.

    `among` (a relation with user_id) narrows it to some users. What was proposed before for a cause is left out.
    """
    make_candidates(conn)
    columns = column_of(rules)
    conditions = {column: rule.definition.conditions for rule, column in columns.items()}
    layout = Layout.of(conditions)
    rows = matching.matches(conditions, as_of, among, standing=queue.is_standing(conn, "activity", as_of))
    asked = ["user_id", *conditions, *layout.lasts.values(), *layout.sequences.values()]
    matched = scratch_table(conn, MATCHED, rows, planned_by=asked)
    for rule, column in columns.items():
        add_candidates(conn, rule, _caused(rule, column, layout, as_of, now).subquery())
    leave_out_answered(conn)
    conn.execute(sa.text("ANALYZE pg_temp.candidates (rule_id, user_id, cause, action_type)"))
    return matched


def make_candidates(conn: Connection) -> None:
    """Make the temporary table `candidates`, empty."""
    conn.execute(sa.text("DROP TABLE IF EXISTS pg_temp.candidates"))
    candidates.create(conn)


def add_candidates(conn: Connection, rule: Rule, caused: sa.Subquery) -> None:
    """Put the users of `caused` (user_id, cause, fired) beside a rule."""
    conn.execute(sa.insert(candidates).from_select(candidates.columns.keys(), _candidate(rule, caused)))


def leave_out_answered(conn: Connection) -> None:
    """Leave out those to whom the rule has proposed something for this cause."""
    conn.execute(
        sa.delete(candidates).where(
            sa.exists().where(
                actions.c.rule_id == candidates.c.rule_id,
                actions.c.user_id == candidates.c.user_id,
                actions.c.cause == candidates.c.cause,
            )
        )
    )


def anchored(rule: Definition, layout: Layout) -> str | None:
    """Return the column of `matched` with the day that anchors a time rule; None for rules of other triggers."""
    if rule.trigger != "time_based":
        return None
    anchor = _anchor(rule)
    return layout.lasts[anchor.event] if isinstance(anchor, DaysSince) else layout.sequences[anchor]


def threshold(rule: Definition) -> tuple[str, int, str]:
    """Return the event that anchors a time rule, after how many days it fires, and how its causes name what it asks."""
    match _anchor(rule):
        case DaysSince(event, op, value):
            return event, value + (1 if op == ">" else 0), f"{op}{value}"
        case Followed(event, then, _, within_days):
            return event, within_days, f"!{then}<{within_days}"


def causes(rule: Definition, asked: Asked) -> sa.Select:
    """Return `each` for whom the rule fires, with the newest `cause` and what is told of it as `fired`."""
    match rule.trigger:
        case "event_based":
            return _by_event(asked, sorted(rule.fires_on))
        case "segment_based":
            return _by_segment(asked, sorted(rule.moved_by))
        case _:
            return _by_time(asked, rule)


def _candidate(rule: Rule, caused: sa.Subquery) -> sa.Select:
    said = rule.definition
    return sa.select(
        sa.literal(rule.id, sa.Uuid),
        sa.literal(rule.version),
        caused.c.user_id,
        caused.c.cause,
        caused.c.fired,
        sa.literal(said.action_type),
        sa.literal(said.message_class),
        sa.literal(said.topic, sa.Text),
        sa.literal(said.priority),
        sa.literal(said.cooldown),
        sa.literal(said.max_per_user, sa.Integer),
        sa.null(),
        sa.null(),
        sa.null(),
    )


def _caused(rule: Rule, column: str, layout: Layout, as_of: date, now: datetime) -> sa.Select:
    last = anchored(rule.definition, layout)
    others = [] if last is None else [sa.column(last, sa.Date)]
    rows = sa.table(MATCHED, sa.column("user_id", sa.Text), sa.column(column, sa.Boolean), *others)
    asked = Asked(
        rows=rows,
        each=(rows.c.user_id,),
        holds=rows.c[column],
        last=None if last is None else rows.c[last],
        standing=sa.true() if rule.published_at > now - FRESH else sa.false(),
        as_of=as_of,
        fresh_after=now - FRESH,
        fresh_from=as_of - FRESH,
        until=now + _AHEAD,
    )
    return causes(rule.definition, asked)


def _anchor(rule: Definition) -> DaysSince | Followed:
    anchor = rule.anchor
    assert anchor is not None, "a time rule without an anchor cannot be published"  # noqa: S101
    return anchor


def _by_event(asked: Asked, names: list[str]) -> sa.Select:
    user_id = asked.rows.c.user_id
    fired = sa.func.jsonb_strip_nulls(
        sa.func.jsonb_build_object(
            "event",
            events.c.event,
            "messageId",
            events.c.message_id,
            "at",
            events.c.created_at,
            "courseId",
            events.c.course_id,
            "amount",
            events.c.amount,
        )
    )
    return (
        sa.select(*asked.each, events.c.message_id.label("cause"), fired.label("fired"))
        .ext(pg.distinct_on(*asked.each))
        .join(users, users.c.id == user_id)
        .join(events, events.c.user_id == user_id)
        .where(
            asked.holds,
            events.c.event.in_(names),
            events.c.created_at > asked.fresh_after,
            events.c.created_at <= asked.until,
            events.c.source.is_distinct_from("oracle"),
            sa.or_(users.c.baseline_at.is_(None), events.c.created_at > users.c.baseline_at),
        )
        .order_by(*asked.each, events.c.created_at.desc(), events.c.message_id.desc())
    )


def _by_segment(asked: Asked, moved: list[str]) -> sa.Select:
    user_id = asked.rows.c.user_id
    change = segment_changes.c
    told = (change.field, change.old, change.new, change.changed_at, change.id)
    query = (
        sa.select(*asked.each, *told)
        .ext(pg.distinct_on(*asked.each))
        .join(users, users.c.id == user_id)
        .join(segment_changes, change.user_id == user_id)
        .where(
            asked.holds,
            change.field.in_(moved),
            sa.or_(asked.standing, change.changed_at > asked.fresh_after),
            sa.or_(
                users.c.baseline_at.is_(None),
                sa.and_(change.old.is_not(None), change.changed_at > users.c.baseline_at),
            ),
        )
        .order_by(*asked.each, change.id.desc())
    )
    newest = (query if asked.written is None else query.where(change.changed_at <= asked.written)).subquery("newest").c
    fired = sa.func.jsonb_build_object(
        "field", newest.field, "old", newest.old, "new", newest.new, "at", newest.changed_at, "changeId", newest.id
    )
    each = (newest[column.name] for column in asked.each)
    return sa.select(*each, sa.cast(newest.id, sa.Text).label("cause"), fired.label("fired"))


def _by_time(asked: Asked, rule: Definition) -> sa.Select:
    assert asked.last is not None, "whoever asks of a time rule knows its anchor"  # noqa: S101
    event, after, said = threshold(rule)
    day = sa.type_coerce(asked.last, sa.Date)
    crossed = day + after
    named = sa.func.concat(event, "@", sa.cast(day, sa.Text), said)
    fired = sa.func.jsonb_build_object("event", event, "lastOn", day, "crossedOn", crossed)
    return (
        sa.select(*asked.each, named.label("cause"), fired.label("fired"))
        .join_from(asked.rows, users, users.c.id == asked.rows.c.user_id)
        .where(
            asked.holds,
            # Other conditions may hold before the silence has lasted long enough, or without any.
            crossed <= asked.as_of,
            sa.or_(asked.standing, crossed >= asked.fresh_from),
            sa.or_(users.c.baseline_at.is_(None), crossed > sa.cast(users.c.baseline_at, sa.Date)),
        )
    )
