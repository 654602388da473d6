"""When a message goes that its rule wants sent at the user's best time (`sendAt`): the next such part of their day.

The part is `bestContactTime` of the segment, on the user's own clock. It goes at once while that part lasts, and where
it or the time zone is unknown. PostgreSQL reads the clock of the zone, so a day in which the clocks change is as long
as it is.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.decide.definition import BEST_TIME
from oracle_lib.observe.day_parts import DAY_PARTS
from oracle_lib.storage.tables import actions, rule_versions, segments, users


def moments(conn: Connection, ids: Collection[UUID], now: datetime) -> dict[UUID, datetime]:
    """Return when the best time of these actions begins; what goes at once is left out. One statement for all."""
    named = actions.c.id == sa.any_(sa.bindparam("ids", list(ids), type_=pg.ARRAY(sa.Uuid)))
    found = conn.execute(sa.select(actions.c.id, next_moment(now).label("begins")).where(named))
    return {row.id: row.begins for row in found if row.begins is not None}


def next_moment(now: datetime) -> ColumnElement[datetime]:
    """Return, of a row of `actions`, when its best time begins; null: at once."""
    moment = sa.literal(now, sa.DateTime(timezone=True))
    local = sa.func.timezone(users.c.time_zone, moment)
    part = segments.c.best_contact_time
    begins = sa.case({name: first for name, (first, _) in DAY_PARTS.items()}, value=part)
    ends = sa.case({name: end for name, (_, end) in DAY_PARTS.items()}, value=part)
    hour = sa.func.date_part("hour", local)
    tomorrow = sa.cast(hour >= ends, sa.Integer)
    begin = sa.func.date_trunc("day", local) + sa.func.make_interval(0, 0, 0, tomorrow, begins)
    wanted = sa.and_(
        rule_versions.c.rule_id == actions.c.rule_id,
        rule_versions.c.version == actions.c.rule_version,
        rule_versions.c.definition["sendAt"].as_string() == BEST_TIME,
        users.c.id == actions.c.user_id,
        segments.c.user_id == actions.c.user_id,
        sa.not_(sa.and_(hour >= begins, hour < ends)),
    )
    return sa.select(sa.func.timezone(users.c.time_zone, begin)).where(wanted).correlate(actions).scalar_subquery()
