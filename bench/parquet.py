"""The same days as Parquet files, asked by DuckDB: what a team would run that keeps its events in files."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import duckdb
import ibis
import sqlalchemy as sa
from ibis.backends.sql.datatypes import DuckDBType
from sqlalchemy import Connection

from bench.academy import DAYS, LAST, SETTINGS
from bench.result import Say, median_seconds, timed
from oracle_lib.analyze.classifier import segment_expr
from oracle_lib.analyze.features import state_expr
from oracle_lib.clock import DAY
from oracle_lib.observe.activity import standing_expr, user_day_events_expr, user_days_expr, user_lessons_expr
from oracle_lib.observe.habits import habits_expr
from oracle_lib.observe.moments import OneDay
from oracle_lib.storage.engine import Store
from oracle_lib.storage.publish import run
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables import events, lessons, users

_READ = ("user_id", "event", "session_id", "created_at", "seconds", "amount", "course_id", "lesson_id")
_WEEKS = 13
# Said, not guessed: a table without rows tells nothing of its form.
_AS_WRITTEN = """auto_detect = false, header = false, delim = ',', quote = '"', escape = '"', nullstr = ''"""
_FIRST = LAST - timedelta(days=DAYS)
# What both engines must agree on for their segments to be the same.
_AGREED = """
    SELECT engagement_level, lifecycle, best_contact_time, course_id, count(*), sum(engagement_score)
      FROM segments GROUP BY 1, 2, 3, 4
"""


def measure(store: Store, select: str, say: Say) -> tuple[float, float]:
    """Return the seconds that `select` takes over the events, and those of working out the segments that stand.

    The second is the chain's own definitions from raw events to segments; it stores and proposes nothing. Raises
    `RuntimeError` where they come out otherwise than they stand in `store`.
    """
    with tempfile.TemporaryDirectory(prefix="oracle-parquet-") as folder, duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        with timed(say, "export to Parquet (not counted)"), store.transaction() as conn:
            _export(conn, engine, Path(folder))
        asked = median_seconds(say, "DuckDB over Parquet", 3, lambda: _make(engine, "counted", select))
        steps = {name: str(ibis.to_sql(rows, dialect="duckdb")) for name, rows in _steps()}
        same = median_seconds(say, "DuckDB to the same segments", 3, lambda: _run(engine, steps))
        with store.transaction() as conn:
            standing = {tuple(row) for row in run(conn, _AGREED)}
        if set(engine.execute(_AGREED).fetchall()) != standing:
            raise RuntimeError("DuckDB's segments are not those that stand; what was compared is not the same.")
    return asked, same


def _steps() -> Iterator[tuple[str, ibis.Table]]:
    """Yield the tables from events to segments, each made of those before it, by the chain's own expressions."""
    day, end = OneDay(LAST), LAST + DAY
    yield "user_days", user_days_expr(_FIRST, end)
    yield "user_day_events", user_day_events_expr(_FIRST, end)
    yield "user_lessons", user_lessons_expr(_FIRST, end)
    yield "activity", standing_expr(day).drop("as_of")
    yield "habits", habits_expr(day).drop("as_of")
    yield "segments", segment_expr(state_expr(day, current=True), SETTINGS).drop("as_of")


def _run(engine: duckdb.DuckDBPyConnection, steps: dict[str, str]) -> None:
    for name, query in steps.items():
        _make(engine, name, query)


def _make(engine: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    engine.execute(f"CREATE OR REPLACE TABLE {name} AS {query}")


def _export(conn: Connection, engine: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write a file a week, so that no copy of all events is ever needed, and one of users and lessons each."""
    for week in range(_WEEKS):
        start = _FIRST + timedelta(days=7 * week)
        bounds = f"created_at >= '{start}' AND created_at < '{start + timedelta(days=7)}'"
        _write(conn, engine, events, _READ, folder / f"events-{week:02}.parquet", bounds)
    for table in (users, lessons):
        _write(conn, engine, table, relation(table).columns, folder / f"{table.name}-all.parquet")
    for table in (events, users, lessons):
        engine.execute(f"CREATE VIEW {table.name} AS SELECT * FROM read_parquet('{folder}/{table.name}-*.parquet')")


def _write(
    conn: Connection,
    engine: duckdb.DuckDBPyConnection,
    table: sa.Table,
    columns: Sequence[str],
    file: Path,
    bounds: str = "true",
) -> None:
    kinds = relation(table).schema()
    listed = ", ".join(f"'{name}': '{DuckDBType.to_string(kinds[name])}'" for name in columns)
    with _csv(conn, f"SELECT {', '.join(columns)} FROM {table.name} WHERE {bounds}", file) as rows:
        engine.execute(
            f"COPY (SELECT * FROM read_csv('{rows}', {_AS_WRITTEN}, columns = {{{listed}}}))"
            f" TO '{file}' (FORMAT parquet)"
        )


@contextmanager
def _csv(conn: Connection, query: str, beside: Path) -> Iterator[Path]:
    """Keep a query's rows in a CSV file for as long as they are read."""
    path = beside.with_suffix(".csv")
    driver = conn.connection.driver_connection
    assert driver is not None
    with path.open("wb") as file, driver.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT CSV") as rows:
        file.writelines(rows)
    yield path
    path.unlink()
