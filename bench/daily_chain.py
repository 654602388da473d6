"""The daily chain against what a team without rollups would run: one SQL over raw events, or DuckDB over Parquet."""

import io
import tempfile
from datetime import timedelta
from pathlib import Path

import duckdb
from sqlalchemy import Connection

from bench.academy import LAST, SETTINGS, Academy, run_chain
from bench.result import Result, Say, median_seconds, timed
from oracle_lib.analyze import classifier
from oracle_lib.observe import activity
from oracle_lib.storage.engine import Store

# Every window of every user out of the raw events, classified. PostgreSQL and DuckDB both read it.
_SELECT = f"""
    WITH counted AS (
        SELECT user_id, max(created_at) AS last_at,
               count(*) FILTER (WHERE created_at >= DATE '{LAST - timedelta(days=6)}') AS events_7d,
               count(*) FILTER (WHERE created_at >= DATE '{LAST - timedelta(days=29)}') AS events_30d,
               count(*) AS events_90d,
               count(*) FILTER (WHERE event = 'lesson_complete' AND created_at >= DATE '{LAST - timedelta(days=6)}')
                   AS lessons_7d,
               count(*) FILTER (WHERE event = 'lesson_complete' AND created_at >= DATE '{LAST - timedelta(days=29)}')
                   AS lessons_30d,
               count(DISTINCT CAST(created_at AS date))
                   FILTER (WHERE created_at >= DATE '{LAST - timedelta(days=29)}') AS days_30d,
               count(DISTINCT CAST(created_at AS date)) AS days_90d,
               sum(seconds) FILTER (WHERE created_at >= DATE '{LAST - timedelta(days=6)}') AS seconds_7d,
               count(*) FILTER (WHERE event = 'email_open') AS opens, sum(amount) AS revenue,
               count(DISTINCT lesson_id) FILTER (WHERE event = 'lesson_complete') AS lessons_done
          FROM events WHERE created_at >= DATE '{LAST - timedelta(days=89)}' AND event <> 'email_sent'
         GROUP BY user_id)
    SELECT user_id, CASE WHEN last_at < DATE '{LAST - timedelta(days=30)}' THEN 'lost'
                         WHEN last_at < DATE '{LAST - timedelta(days=14)}' THEN 'dormant'
                         WHEN lessons_7d >= 5 THEN 'active' ELSE 'moderate' END AS level,
           events_7d, events_30d, events_90d, lessons_30d, days_30d, days_90d, seconds_7d, opens, revenue, lessons_done
      FROM counted
"""
_READ = "user_id, event, created_at, seconds, amount, lesson_id"


def measure(academy: Academy, *, say: Say) -> list[Result]:
    """Run the chain for the one new day, then compare. The first to run: the day waits only once."""
    parts = run_chain(academy.store, LAST, say=say)
    # Scoring is a subject of its own (models): the SQL it is held against predicts nothing.
    chain = sum(seconds for name, seconds in parts.items() if name != "score")
    say(f"  the daily chain, incremental: {chain:.2f} s")
    raw = median_seconds(say, "one set-based SQL over raw events", 3, lambda: _over_raw_events(academy.store))
    parquet = _duckdb(academy.store, say)
    rebuild = median_seconds(say, "everything rebuilt from rollups", 3, lambda: _rebuild(academy.store))
    return [
        Result("one set-based SQL over raw events", raw, "s"),
        Result("DuckDB over the same days in Parquet", parquet, "s"),
        Result("daily chain, incremental", chain, "s"),
        *(Result(f"  of it {name}", seconds, "s") for name, seconds in parts.items() if name != "score"),
        Result("scoring by recency, beside it", parts["score"], "s"),
        Result("daily chain, incremental / SQL over raw events", chain / raw, "ratio", 0.08),
        Result("daily chain, incremental / DuckDB over Parquet", chain / parquet, "ratio", 0.4),
        Result("full rebuild from rollups / SQL over raw events", rebuild / raw, "ratio", 0.3),
    ]


def _over_raw_events(store: Store) -> None:
    with store.transaction() as conn:
        conn.exec_driver_sql(f"CREATE TEMPORARY TABLE baseline ON COMMIT DROP AS {_SELECT}")


def _rebuild(store: Store) -> None:
    """Work the windows and segments of everybody out again, from what was counted per user and day."""
    with store.transaction() as conn:
        activity.refresh(conn, LAST, everyone=True)
        classifier.classify(conn, LAST, settings=SETTINGS, everyone=True)


def _duckdb(store: Store, say: Say) -> float:
    with tempfile.TemporaryDirectory(prefix="oracle-parquet-") as folder, duckdb.connect() as engine:
        with timed(say, "export to Parquet (not counted)"), store.transaction() as conn:
            _export(conn, engine, Path(folder))
        engine.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet('{folder}/*.parquet')")
        return median_seconds(
            say, "DuckDB over Parquet", 3, lambda: engine.execute(f"CREATE OR REPLACE TABLE counted AS {_SELECT}")
        )


def _export(conn: Connection, engine: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write a Parquet file a week, each through one CSV, so that no copy of all events is ever needed."""
    for week in range(13):
        first = LAST - timedelta(days=89 - 7 * week)
        bounds = f"created_at >= '{first}' AND created_at < '{first + timedelta(days=7)}'"
        rows = folder / "week.csv"
        with rows.open("wb") as file:
            _copy_out(conn, f"COPY (SELECT {_READ} FROM events WHERE {bounds}) TO STDOUT (FORMAT csv)", file)
        engine.execute(
            f"COPY (SELECT * FROM read_csv('{rows}', header=false, nullstr='', columns={{'user_id': 'VARCHAR',"
            " 'event': 'VARCHAR', 'created_at': 'TIMESTAMPTZ', 'seconds': 'INTEGER', 'amount': 'DECIMAL(12, 2)',"
            f" 'lesson_id': 'VARCHAR'}})) TO '{folder}/{week:02}.parquet' (FORMAT parquet)"
        )
        rows.unlink()


def _copy_out(conn: Connection, sql: str, file: io.BufferedWriter) -> None:
    driver = conn.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(sql) as copy:
        file.writelines(copy)
