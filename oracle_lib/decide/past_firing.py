"""Whom a rule would have fired for on past days, and for which cause: a run's scan and its causes, for many days."""

from collections.abc import Callable, Collection, Sequence
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
from oracle_lib.observe import catalogue
from oracle_lib.settings import Settings
from oracle_lib.storage.publish import compiled, scanning, scratch_table
from oracle_lib.storage.tables import events

_HOLDS, _MATCHED, _LIKELY, _HOLDERS = "holds", "past_matched", "past_likely", "past_holders"

# The temporary table of one run over past days; a user has at most one cause a day.
past_fired = sa.Table(
    "past_fired",
    sa.MetaData(),
    sa.Column("as_of", sa.Date),
    sa.Column("user_id", sa.Text),
    sa.Column("cause", sa.Text),
    sa.Column("fired", pg.JSONB),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)


def fire(conn: Connection, rule: Definition, days: Sequence[PastDay], *, settings: Settings) -> None:
    """Fill the temporary table `past_fired`, whatever was proposed for a cause before; nothing else is written.

    What is cheap to know of a past day is asked first, and the rest only of those for whom that holds.
    """
    past_days.keep(conn, days)
    with scanning(conn):
        as_of_state.ask(conn, may_fire.pairs(rule, days))
    as_of_state.count_early(conn, _passive(Layout.of({_HOLDS: rule.conditions})))
    kept = as_of_state.kept_columns(conn)
    for part in _cheaper(rule.conditions, kept):
        _match(conn, rule, part, settings=settings)
        scratch_table(conn, _LIKELY, written_out(_holders(None).with_only_columns(asked.c.user_id, asked.c.as_of)))
        as_of_state.ask(conn, sa.select(sa.table(_LIKELY, sa.column("user_id", sa.Text), sa.column("as_of", sa.Date))))
    if not all(_kept(leaf, kept) for leaf in leaves(rule.conditions)):
        as_of_state.count_early(conn, None)
    layout = _match(conn, rule, rule.conditions, settings=settings)
    scratch_table(conn, _HOLDERS, written_out(_holders(firing.anchored(rule, layout))))
    conn.execute(sa.text("DROP TABLE IF EXISTS pg_temp.past_fired"))
    past_fired.create(conn)
    conn.execute(sa.insert(past_fired).from_select(list(past_fired.columns.keys()), _caused(rule, days)))
    conn.execute(sa.text("ANALYZE pg_temp.past_fired"))


def _match(conn: Connection, rule: Definition, condition: Condition, *, settings: Settings) -> Layout:
    """Fill the temporary table `past_matched` with those asked about for whom a condition holds, by their key."""
    layout = Layout.of({_HOLDS: condition})
    columns = {field.column for field in layout.fields}
    past = as_of_state.look_back(conn, columns, settings=settings, reach=_reach(rule, condition, layout))
    with scanning(conn):
        scratch_table(conn, _MATCHED, past.over(_holding(condition)))
    return layout


@lru_cache(maxsize=256)
def _holding(condition: Condition) -> str:
    layout = Layout.of({_HOLDS: condition})
    return compiled(matches({_HOLDS: condition}, past_days.TODAY).select("user_id", _HOLDS, *layout.columns))


def _cheaper(condition: Condition, kept: Collection[str]) -> list[Condition]:
    """Return what has to hold for a condition to hold and costs less to ask, the cheapest first."""
    found = [condition]
    for known in (_kept, _at_a_glance):
        part = _whatever_else(condition, partial(known, kept=kept))
        if part is not None and part != found[0] and not set(leaves(part)) <= may_fire.needed(condition).keys():
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


def _at_a_glance(leaf: Leaf, kept: Collection[str]) -> bool:
    """Say whether a leaf asks for a level that is kept, or for what happened within the last days."""
    match leaf:
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


def _passive(layout: Layout) -> set[str]:
    """Return the events that are asked for and not of the user's own doing."""
    named = {event for event, _ in layout.counts} | set(layout.lasts)
    named |= {event for leaf in layout.sequences for event in (leaf.first, leaf.then)}
    named |= {event for of, _ in layout.sums for event in SUMMED[of]}
    return named - {*catalogue.ACTED, ACTIVITY}


def _holders(last: str | None) -> sa.Select:
    """Return the asked users for whom the conditions hold, under their own names and dates."""
    anchors = [] if last is None else [sa.column(last, sa.Date)]
    matched = sa.table(_MATCHED, sa.column("user_id"), sa.column(_HOLDS, sa.Boolean), *anchors)
    anchored = sa.null() if last is None else matched.c[last] - asked.c.shift
    holders = sa.select(*asked.columns, matched.c[_HOLDS], sa.cast(anchored, sa.Date).label("last"))
    return holders.join(matched, matched.c.user_id == asked.c.key)


def _caused(rule: Definition, days: Sequence[PastDay]) -> sa.Select:
    columns = [sa.column(one.name, one.type) for one in asked.columns]
    rows = sa.table(_HOLDERS, *columns, sa.column(_HOLDS, sa.Boolean), sa.column("last", sa.Date))
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
