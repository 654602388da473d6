"""The hours of a user's own clock in which no marketing message goes out; it waits until they end.

PostgreSQL reads the clock of the zone, so that a night in which the clocks change is as long as it is.
"""

import re
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import ColumnElement


@dataclass(frozen=True)
class QuietHours:
    """From the hour `start` up to the hour `end` (0-23) of the user's clock, over midnight where `end` is earlier."""

    start: int
    end: int

    @classmethod
    def read(cls, text: str) -> "QuietHours | None":
        """Read `21-8`; an empty text, or hours that begin when they end, are none."""
        hours = [int(hour) for hour in re.findall(r"\d+", text)]
        return cls(*hours) if len(hours) == 2 and hours[0] != hours[1] else None

    def ends(self, moment: ColumnElement, zone: ColumnElement[str]) -> ColumnElement:
        """Return when the quiet ends that `moment` falls into in a time zone; null where it falls into none."""
        local = sa.func.timezone(zone, moment)
        hour = sa.func.date_part("hour", local)
        over_midnight = self.start > self.end
        late, early = hour >= self.start, hour < self.end
        inside = sa.or_(late, early) if over_midnight else sa.and_(late, early)
        day = sa.func.date_trunc("day", local)
        next_day = sa.case((late, 1), else_=0) if over_midnight else sa.literal(0)
        end = day + sa.func.make_interval(0, 0, 0, next_day, self.end)
        return sa.case((inside, sa.func.timezone(zone, end)), else_=sa.null())
