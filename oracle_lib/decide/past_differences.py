"""Where a dry run and what was really proposed disagree, and the events that came too late to be seen at the time.

A rollup holds late events as if they had always been there; the run of their day did not know them. An event is late
for a user if a run should have seen it and it was received after that run.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.clock import DAY, start_of
from oracle_lib.decide.past_days import PastDay, run_days
from oracle_lib.decide.past_limits import Firing
from oracle_lib.storage.tables import actions, events

# How late an event may come over the API, with a day to spare; an import's own lateness fires nothing.
_LATEST = 31 * DAY


@dataclass(frozen=True)
class Difference:
    """One proposal that only a dry run, or only production made, and the message ids of the user's late events."""

    day: date
    user_id: str
    cause: str
    made_by: str
    late_events: tuple[str, ...]


def proposed(conn: Connection, rule_id: UUID, days: Sequence[PastDay]) -> set[Firing]:
    """Return what a rule really proposed on the days."""
    a = actions.c
    rows = sa.select(a.user_id, a.cause, a.created_at).where(
        a.rule_id == rule_id, a.created_at >= start_of(days[0].as_of), a.created_at < start_of(days[-1].as_of) + DAY
    )
    return {Firing(at.date(), user_id, cause) for user_id, cause, at in conn.execute(rows)}


def tell(conn: Connection, apart: Sequence[Firing], dry: Collection[Firing]) -> tuple[Difference, ...]:
    """Return each difference with what explains it; needs `run_days`."""
    late = _late(conn, apart)
    return tuple(
        Difference(
            day=one.day,
            user_id=one.user_id,
            cause=one.cause,
            made_by="dry run" if one in dry else "production",
            late_events=late.get((one.user_id, one.day), ()),
        )
        for one in apart
    )


def _late(conn: Connection, apart: Sequence[Firing]) -> dict[tuple[str, date], tuple[str, ...]]:
    if not apart:
        return {}
    users = sa.bindparam("users", [one.user_id for one in apart], type_=pg.ARRAY(sa.Text))
    days = sa.bindparam("days", [one.day for one in apart], type_=pg.ARRAY(sa.Date))
    asked = sa.func.unnest(users, days).table_valued("user_id", "as_of", name="apart").render_derived()
    missed = sa.exists().where(
        run_days.c.as_of <= asked.c.as_of,
        run_days.c.now > events.c.created_at,
        run_days.c.now < events.c.received_at,
    )
    first = min(one.day for one in apart)
    listed = pg.aggregate_order_by(events.c.message_id, events.c.received_at, events.c.message_id)
    query = (
        sa.select(asked.c.user_id, asked.c.as_of, sa.func.array_agg(listed))
        .join(events, events.c.user_id == asked.c.user_id)
        .where(events.c.created_at >= start_of(first) - _LATEST, missed)
        .group_by(asked.c.user_id, asked.c.as_of)
    )
    return {(user_id, day): tuple(ids) for user_id, day, ids in conn.execute(query)}
