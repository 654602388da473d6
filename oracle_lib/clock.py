"""The one place that reads the time.

Only edges (API dependency, Dagster resource, CLI) call `now`; everything below them takes `as_of` or a moment as an
argument, so that any day can be computed again and a test can stand at any moment.
"""

from datetime import UTC, date, datetime, timedelta

DAY = timedelta(days=1)


def now() -> datetime:
    """Return the present moment, in UTC."""
    return datetime.now(UTC)


def start_of(day: date) -> datetime:
    """Return 00:00 UTC of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def newest_closed_day(moment: datetime) -> date:
    """Return the last UTC day that is over at `moment`: yesterday."""
    return moment.astimezone(UTC).date() - DAY


def week_of(day: date) -> date:
    """Return the Sunday that names the week of `day`; a week runs Sunday 00:00 to Sunday 00:00 UTC."""
    return day - timedelta(days=(day.weekday() + 1) % 7)


def newest_closed_week(moment: datetime) -> date:
    """Return the Sunday that names the last whole week at `moment`."""
    return week_of(moment.astimezone(UTC).date()) - timedelta(days=7)
