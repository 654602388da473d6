"""Whom a rule would have fired for on past days, and for which cause: a run's scan and its causes, for many days."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.decide import as_of_state, firing, may_fire, past_days
from oracle_lib.decide.as_of_state import asked, written_out
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.layout import Layout
from oracle_lib.decide.matching import matches
from oracle_lib.decide.past_days import PastDay
from oracle_lib.settings import Settings
from oracle_lib.storage.publish import scanning, scratch_table
from oracle_lib.storage.tables import events

_HOLDS, _MATCHED, _HOLDERS = "holds", "past_matched", "past_holders"

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
    """Fill the temporary table `past_fired`, whatever was proposed for a cause before; nothing else is written."""
    past_days.keep(conn, days)
    conditions = {_HOLDS: rule.conditions}
    layout = Layout.of(conditions)
    columns = {field.column for field in layout.fields}
    last = firing.anchored(rule, layout)
    past = as_of_state.look_back(conn, may_fire.pairs(rule, days), columns, settings=settings)
    with scanning(conn):
        seen = matches(conditions, past_days.TODAY).select("user_id", _HOLDS, *([last] if last else []))
        scratch_table(conn, _MATCHED, past.over(seen))
    _keep_holders(conn, last)
    conn.execute(sa.text("DROP TABLE IF EXISTS pg_temp.past_fired"))
    past_fired.create(conn)
    conn.execute(sa.insert(past_fired).from_select(list(past_fired.columns.keys()), _caused(rule, days, last)))
    conn.execute(sa.text("ANALYZE pg_temp.past_fired"))


def _keep_holders(conn: Connection, last: str | None) -> None:
    """Keep the asked users for whom the conditions hold, under their own names and dates."""
    matched = sa.table(_MATCHED, sa.column("user_id"), sa.column(_HOLDS, sa.Boolean), *_date(last))
    anchored = sa.null() if last is None else matched.c[last] - asked.c.shift
    holders = sa.select(*asked.columns, matched.c[_HOLDS], sa.cast(anchored, sa.Date).label("last"))
    scratch_table(conn, _HOLDERS, written_out(holders.join(matched, matched.c.user_id == asked.c.key)))


def _date(last: str | None) -> list[sa.ColumnClause]:
    return [] if last is None else [sa.column(last, sa.Date)]


def _caused(rule: Definition, days: Sequence[PastDay], last: str | None) -> sa.Select:
    columns = [sa.column(one.name, one.type) for one in asked.columns]
    rows = sa.table(_HOLDERS, *columns, sa.column(_HOLDS, sa.Boolean), sa.column("last", sa.Date))
    query = firing.causes(
        rule,
        firing.Asked(
            rows=rows,
            each=(rows.c.as_of, rows.c.user_id),
            holds=rows.c[_HOLDS],
            last=None if last is None else rows.c.last,
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
