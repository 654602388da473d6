"""The daily chain against what a team without rollups would run: one SQL over raw events, or DuckDB over Parquet."""

from datetime import timedelta

from bench import parquet
from bench.academy import LAST, SETTINGS, Academy, run_chain
from bench.result import Result, Say, median_seconds
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


def measure(academy: Academy, *, say: Say) -> list[Result]:
    """Run the chain for the one new day, then compare. The first to run: the day waits only once."""
    parts = run_chain(academy.store, LAST, say=say)
    # Scoring is a subject of its own (models): the SQL it is held against predicts nothing.
    chain = sum(seconds for name, seconds in parts.items() if name != "score")
    say(f"  the daily chain, incremental: {chain:.2f} s")
    raw = median_seconds(say, "one set-based SQL over raw events", 3, lambda: _over_raw_events(academy.store))
    duckdb, same = parquet.measure(academy.store, _SELECT, say)
    rebuild = median_seconds(say, "everything rebuilt from rollups", 3, lambda: _rebuild(academy.store))
    return [
        Result("one set-based SQL over raw events", raw, "s"),
        Result("DuckDB over the same days in Parquet", duckdb, "s"),
        Result("DuckDB over them, to the same segments", same, "s"),
        Result("daily chain, incremental", chain, "s"),
        *(Result(f"  of it {name}", seconds, "s") for name, seconds in parts.items() if name != "score"),
        Result("scoring by recency, beside it", parts["score"], "s"),
        Result("daily chain, incremental / SQL over raw events", chain / raw, "ratio", 0.08),
        Result("daily chain, incremental / DuckDB over Parquet", chain / duckdb, "ratio", 0.4),
        Result("daily chain, incremental / DuckDB to the same segments", chain / same, "ratio"),
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
