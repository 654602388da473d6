"""What runs by the clock, in UTC. A schedule only announces: which days are missing is read from the database."""

from collections.abc import Iterator

import dagster as dg

from oracle_lib import clock
from oracle_lib.window import missed_days
from oracle_pipelines import jobs
from oracle_pipelines.partitions import range_tags
from oracle_pipelines.resources import Database

RUNNING = dg.DefaultScheduleStatus.RUNNING


@dg.schedule(job=jobs.daily, cron_schedule="0 2 * * *", execution_timezone="UTC", default_status=RUNNING)
def daily_at_two(context: dg.ScheduleEvaluationContext, database: Database) -> dg.RunRequest:
    """Yesterday at 02:00 UTC, and in the same run the closed days before it that no run counted."""
    with database.transaction() as conn:
        window = missed_days(conn, context.scheduled_execution_time)
    return dg.RunRequest(tags=range_tags(window.first, window.last))


@dg.schedule(job=jobs.weekly, cron_schedule="0 8 * * 0", execution_timezone="UTC", default_status=RUNNING)
def weekly_on_sunday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """The week that ended at midnight, on Sunday at 08:00 UTC."""
    return dg.RunRequest(partition_key=clock.newest_closed_week(context.scheduled_execution_time).isoformat())


@dg.schedule(job=jobs.maintenance, cron_schedule="30 4 * * *", execution_timezone="UTC", default_status=RUNNING)
def maintenance_at_half_past_four(_context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Dagster's own log, pruned every night."""
    yield dg.RunRequest()


SCHEDULES = [daily_at_two, weekly_on_sunday, maintenance_at_half_past_four]
