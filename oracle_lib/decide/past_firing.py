"""Whom a rule would have fired for on past days, and for which cause: a run's scan and its causes, for many days."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from functools import lru_cache, partial

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.decide import as_of_state, firing, may_fire, past_days
from oracle_lib.decide.as_of_state import asked, written_out
from oracle_lib.decide.conditions import (
    ACTIVITY,
    SUMMED,
    All,
    AnyOf,
    Changed,
    Condition,
    DaysSince,
    EventCount,
    Leaf,
    SegmentIs,
    field_of,
    leaves,
)
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.layout import Layout
from oracle_lib.decide.matching import matches
from oracle_lib.decide.past_days import PastDay
from oracle_lib.settings import Settings
from oracle_lib.storage.publish import compiled, scanning, scratch_table
from oracle_lib.storage.tables import events
from oracle_lib.storage.tables.activity import RARE

_HOLDS, _MATCHED, _LIKELY, _HOLDERS = "holds", "past_matched", "past_likely", "past_holders"

# The temporary table of one run over past days; a user has at most one cause a day.
past_fired = sa.table(
    "past_fired", sa.column("as_of", sa.Date), sa.column("user_id", sa.Text), sa.column("cause", sa.Text)
)


def fire(conn: Connection, rule: Definition, days: Sequence[PastDay], *, settings: Settings) -> None:
    """Fill the temporary table `past_fired`, whatever was proposed for a cause before; nothing else is written.

    What is cheap to know of a past day is asked first, and the rest only of those for whom that holds.
    """
    past_days.keep(conn, days)
    with scanning(conn):
        as_of_state.ask(conn, may_fire.pairs(rule, days))
    as_of_state.count_early(conn, _counted(rule))
    kept = as_of_state.kept_columns(conn)
    for part in _cheaper(rule, kept):
        _match(conn, rule, part, None, settings=settings)
        who = (asked.c.user_id, asked.c.as_of, asked.c.last_active_on)
        scratch_table(conn, _LIKELY, written_out(_holders(None).with_only_columns(*who)))
        as_of_state.ask(conn, sa.select(sa.table(_LIKELY, *(sa.column(one.name, one.type) for one in who))))
    if not all(_kept(leaf, kept) for leaf in leaves(rule.conditions)):
        as_of_state.count_early(conn, None)
    _match(conn, rule, rule.conditions, _anchored(rule), settings=settings)
    if rule.trigger != "time_based":
        # Of what they are joined with there is far more, and the planner has to know it.
        scratch_table(conn, _HOLDERS, written_out(_holders(None)))
    caused = _caused(rule, days, _firing(rule).subquery()).subquery()
    scratch_table(conn, past_fired.name, written_out(sa.select(*(caused.c[one.name] for one in past_fired.columns))))


def told(
    conn: Connection, rule: Definition, days: Sequence[PastDay], chosen: Collection[tuple[date, str]]
) -> dict[tuple[date, str], Mapping[str, object]]:
    """Return what is told of what fired for the chosen (day, user); `fire` was asked last of this rule and days."""
    asked_days = sa.bindparam("days", [day for day, _ in chosen], type_=pg.ARRAY(sa.Date))
    users = sa.bindparam("users", [user_id for _, user_id in chosen], type_=pg.ARRAY(sa.Text))
    wanted = sa.func.unnest(asked_days, users).table_valued("as_of", "user_id", name="wanted").render_derived()
    rows = _firing(rule).subquery()
    same = sa.and_(rows.c.as_of == wanted.c.as_of, rows.c.user_id == wanted.c.user_id)
    caused = _caused(rule, days, sa.select(rows).join(wanted, same).subquery())
    return {(row.as_of, row.user_id): row.fired for row in conn.execute(caused)}


def _firing(rule: Definition) -> sa.Select:
    """Return the asked users for whom a rule's conditions hold, as they were kept."""
    holders = _holders(_anchored(rule))
    if rule.trigger == "time_based":
        return holders
    return sa.select(sa.table(_HOLDERS, *(sa.column(one.name, one.type) for one in holders.selected_columns)))


def _anchored(rule: Definition) -> str | None:
    return firing.anchored(rule, Layout.of({_HOLDS: rule.conditions}))


def _match(conn: Connection, rule: Definition, condition: Condition, last: str | None, *, settings: Settings) -> None:
    """Fill the temporary table `past_matched` with those asked about for whom a condition holds, by their key.

    The column `last` of the wide row is kept beside it.
    """
    layout = Layout.of({_HOLDS: condition})
    columns = {field.column for field in layout.fields}
    past = as_of_state.look_back(
        conn,
        columns,
        settings=settings,
        reach=_reach(rule, condition, layout),
        last_active_is_known=may_fire.last_active_is_known(rule) and set(layout.lasts) <= {ACTIVITY},
    )
    with scanning(conn):
        scratch_table(conn, _MATCHED, past.over(_holding(condition, last)))


@lru_cache(maxsize=256)
def _holding(condition: Condition, last: str | None) -> str:
    kept = ["user_id", _HOLDS] if last is None else ["user_id", _HOLDS, last]
    return compiled(matches({_HOLDS: condition}, past_days.TODAY).select(kept))


def _cheaper(rule: Definition, kept: Collection[str]) -> list[Condition]:
    """Return what has to hold for a rule's conditions to hold and costs less to ask, the cheapest first."""
    silent = may_fire.last_active_is_known(rule)
    found = [rule.conditions]
    for known in (partial(_kept, kept=kept), partial(_at_a_glance, kept=kept, silent=silent)):
        part = _whatever_else(rule.conditions, known)
        if part is not None and part != found[0] and not set(leaves(part)) <= may_fire.needed(rule.conditions).keys():
            found.insert(0, part)
    return found[:-1]


def _whatever_else(condition: Condition, known: Callable[[Leaf], bool]) -> Condition | None:
    """Return what of the `known` leaves has to hold for a condition to hold, whatever the others say; None: nothing."""
    match condition:
        case All(parts):
            kept = tuple(part for part in (_whatever_else(one, known) for one in parts) if part is not None)
            return All(kept) if kept else None
        case AnyOf(parts):
            either = tuple(_whatever_else(one, known) for one in parts)
            return AnyOf(tuple(part for part in either if part is not None)) if None not in either else None
    return condition if all(map(known, leaves(condition))) else None


def _kept(leaf: Leaf, kept: Collection[str]) -> bool:
    """Say whether a leaf is answered by what is kept, without working out a field of the segment."""
    field = None if isinstance(leaf, Changed) else field_of(leaf)
    return field is None or field.column in kept


def _at_a_glance(leaf: Leaf, kept: Collection[str], *, silent: bool) -> bool:
    """Say whether a leaf asks for a level that is kept, or for what happened within the last days or seldom happens.

    Of `silent` users it is known how long they are.
    """
    match leaf:
        case DaysSince(event) if silent and event == ACTIVITY:
            return True
        case EventCount(event) if event in RARE:
            return True
        case DaysSince(op="<" | "<=" | "=", value=within) | EventCount(within_days=int(within)):
            return within <= may_fire.A_GLANCE
        case SegmentIs():
            return _kept(leaf, kept)
        case _:
            return False


def _reach(rule: Definition, condition: Condition, layout: Layout) -> int | None:
    """Return how many days back the rollups tell all that is asked of fresh causes; None where it takes all of them."""
    bounds: list[int | None] = [within for _, within in (*layout.counts, *layout.sums)]
    bounds += [leaf.in_last_days for leaf in layout.sequences]
    anchor = firing.threshold(rule) if rule.trigger == "time_based" and isinstance(rule.anchor, DaysSince) else None
    for leaf in leaves(condition):
        match leaf:
            case DaysSince(event) if anchor and event == anchor[0]:
                # A silence that began earlier was crossed too long ago to be a cause.
                bounds.append(anchor[1] + firing.FRESH.days + 1)
            case DaysSince(op="<" | "<=" | "=", value=value):
                bounds.append(value + 1)
            case DaysSince():
                bounds.append(None)
    known = [within for within in bounds if within is not None]
    return max(known, default=1) if len(known) == len(bounds) else None


def _counted(rule: Definition) -> set[str]:
    """Return the events of the asked days that conditions count."""
    layout = Layout.of({_HOLDS: rule.conditions})
    named = {event for event, _ in layout.counts} | set(layout.lasts)
    named |= {event for leaf in layout.sequences for event in (leaf.first, leaf.then)}
    named |= {event for of, _ in layout.sums for event in SUMMED[of]}
    if layout.courses:
        named.add("lesson_complete")
    # Whoever was active before the moment is not silent, and not asked about.
    return named - {ACTIVITY} if may_fire.last_active_is_known(rule) else named


def _holders(last: str | None) -> sa.Select:
    """Return the asked users for whom the conditions hold, under their own names and dates."""
    anchors = [] if last is None else [sa.column(last, sa.Date)]
    matched = sa.table(_MATCHED, sa.column("user_id"), sa.column(_HOLDS, sa.Boolean), *anchors)
    anchored = sa.null() if last is None else matched.c[last] - asked.c.shift
    holders = sa.select(*asked.columns, matched.c[_HOLDS], sa.cast(anchored, sa.Date).label("last"))
    return holders.join(matched, matched.c.user_id == asked.c.key)


def _caused(rule: Definition, days: Sequence[PastDay], rows: sa.Subquery) -> sa.Select:
    query = firing.causes(
        rule,
        firing.Asked(
            rows=rows,
            each=(rows.c.as_of, rows.c.user_id),
            holds=rows.c[_HOLDS],
            last=rows.c.last,
            standing=rows.c.standing,
            as_of=rows.c.as_of,
            fresh_after=rows.c.fresh_after,
            fresh_from=rows.c.fresh_from,
            until=rows.c.now,
            written=rows.c.written,
        ),
    )
    if rule.trigger != "event_based":
        return query
    # What each row asks for tells no partition from another before it is read; these bounds do.
    first, end = days[0].now - firing.FRESH, days[-1].now
    return query.where(events.c.created_at > first, events.c.created_at <= end)
