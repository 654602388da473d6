"""Days and weeks in UTC. A week runs Sunday 00:00 to Sunday 00:00 and is named by its Sunday.

Many days are one run: a stage takes a window, so a backfill of two years starts one process, not seven hundred.
"""

from datetime import date, datetime
from functools import partial

import dagster as dg

from oracle_lib import settings
from oracle_lib.window import Week, Window

_FIRST = settings.get().first_day.isoformat()

DAILY = dg.DailyPartitionsDefinition(start_date=_FIRST, timezone="UTC")
WEEKLY = dg.WeeklyPartitionsDefinition(start_date=_FIRST, timezone="UTC", day_offset=0)
SINGLE_RUN = dg.BackfillPolicy.single_run()

_shared = {"owners": ["team:oracle"], "kinds": {"postgres"}, "backfill_policy": SINGLE_RUN}
daily_asset = partial(dg.asset, partitions_def=DAILY, **_shared)
weekly_asset = partial(dg.asset, partitions_def=WEEKLY, **_shared)


def window_of(context: dg.AssetExecutionContext, now: datetime) -> Window:
    """Return the days a run answers for; a range of partitions is one window."""
    keys = sorted(context.partition_keys)
    return Window(first=date.fromisoformat(keys[0]), last=date.fromisoformat(keys[-1]), now=now)


def weeks_of(context: dg.AssetExecutionContext, now: datetime) -> list[Week]:
    """Return the weeks a run answers for, oldest first."""
    return [Week(first=date.fromisoformat(key), now=now) for key in sorted(context.partition_keys)]


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the tags with which one run of a job takes a range of partitions."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
