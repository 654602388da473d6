"""Whom a rule would have fired for on past days, and for which cause: a run's scan and its causes, for many days."""

from collections.abc import Sequence

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
    field_of,
    leaves,
)
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.layout import Layout
from oracle_lib.decide.matching import matches
from oracle_lib.decide.past_days import PastDay
from oracle_lib.observe import catalogue
from oracle_lib.settings import Settings
from oracle_lib.storage.publish import scanning, scratch_table
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

    Fields that have to be worked out cost most: first it is asked for whom the rule could fire whatever these are.
    """
    past_days.keep(conn, days)
    pairs = may_fire.pairs(rule, days)
    likely = _whatever_is_reckoned(rule.conditions)
    if likely is not None and likely != rule.conditions:
        _match(conn, rule, likely, pairs, days, settings=settings)
        scratch_table(conn, _LIKELY, written_out(_holders(None).with_only_columns(asked.c.user_id, asked.c.as_of)))
        pairs = sa.select(sa.table(_LIKELY, sa.column("user_id", sa.Text), sa.column("as_of", sa.Date)))
    layout = _match(conn, rule, rule.conditions, pairs, days, settings=settings)
    scratch_table(conn, _HOLDERS, written_out(_holders(firing.anchored(rule, layout))))
    conn.execute(sa.text("DROP TABLE IF EXISTS pg_temp.past_fired"))
    past_fired.create(conn)
    conn.execute(sa.insert(past_fired).from_select(list(past_fired.columns.keys()), _caused(rule, days)))
    conn.execute(sa.text("ANALYZE pg_temp.past_fired"))


def _match(
    conn: Connection,
    rule: Definition,
    condition: Condition,
    pairs: sa.Select,
    days: Sequence[PastDay],
    *,
    settings: Settings,
) -> Layout:
    """Fill the temporary table `past_matched` with those of `pairs` for whom a condition holds, by their key."""
    layout = Layout.of({_HOLDS: condition})
    columns = {field.column for field in layout.fields}
    past = as_of_state.look_back(
        conn,
        pairs,
        columns,
        settings=settings,
        reach=_reach(rule, layout, days),
        kinds=_passive(layout) if all(map(as_of_state.is_kept, columns)) else None,
    )
    with scanning(conn):
        seen = matches({_HOLDS: condition}, past_days.TODAY).select("user_id", _HOLDS, *layout.columns)
        scratch_table(conn, _MATCHED, past.over(seen))
    return layout


def _whatever_is_reckoned(condition: Condition) -> Condition | None:
    """Return what has to hold for a condition to hold, whatever the fields are that have to be worked out, or None."""
    match condition:
        case All(parts):
            kept = tuple(part for part in map(_whatever_is_reckoned, parts) if part is not None)
            return All(kept) if kept else None
        case AnyOf(parts):
            either = tuple(map(_whatever_is_reckoned, parts))
            return AnyOf(tuple(part for part in either if part is not None)) if None not in either else None
    found = (field_of(leaf) for leaf in leaves(condition) if not isinstance(leaf, Changed))
    return condition if all(field is None or as_of_state.is_kept(field.column) for field in found) else None


def _reach(rule: Definition, layout: Layout, days: Sequence[PastDay]) -> int | None:
    """Return how many days back the rollups tell all that is asked; None where it takes all of them."""
    windows = [within for _, within in (*layout.counts, *layout.sums)]
    windows += [leaf.in_last_days for leaf in layout.sequences]
    lasts = set(layout.lasts)
    if isinstance(rule.anchor, DaysSince) and rule.trigger == "time_based" and not any(day.standing for day in days):
        # A silence that began earlier was crossed too long ago to be a cause.
        event, after, _ = firing.threshold(rule)
        lasts -= {event}
        windows.append(after + firing.FRESH.days + 1)
    bounds = [within for within in windows if within is not None]
    return max(bounds, default=1) if not lasts and len(bounds) == len(windows) else None


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
