"""The daily chain on a large academy, against one set-based SQL over its raw events.

Events are made in SQL, so that only the stages are measured: sittings of eight events, skewed over users, 90 days.
"""

import gc
import statistics
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy import Connection

from bench.result import Result, Say, timed
from oracle_lib.analyze import classifier, predictor
from oracle_lib.clock import DAY
from oracle_lib.decide import decider, rules_engine
from oracle_lib.observe import activity
from oracle_lib.settings import Settings
from oracle_lib.storage import partitions
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.migrate import migrate

DAYS = 90
LAST = date(2026, 3, 3)
NOW = datetime(2026, 3, 4, 2, 0, tzinfo=UTC)
SETTINGS = Settings()

_SITTING = 8
_EVENTS = sa.text(
    """
    INSERT INTO events (message_id, user_id, event, source, session_id, created_at, received_at,
                        amount, seconds, course_id, lesson_id)
    SELECT :day || '-' || s.n || '-' || e.n, s.user_id,
           (ARRAY['login', 'page_view', 'lesson_start', 'lesson_complete', 'page_view', 'lesson_complete',
                  'quiz_pass', 'email_open'])[e.n],
           'web', 's' || s.n, s.at + e.n * interval '3 minutes', :start + interval '1 day',
           NULL, (random() * 600)::int, 'c' || s.n % 3, 'l' || floor(random() * 60)::int
      FROM (SELECT n, 'u' || floor(:users * power(random(), 1.6))::int AS user_id,
                   CAST(:start AS timestamptz) + interval '23 hours' * random() AS at
              FROM generate_series(1, :sittings) AS n) AS s
     CROSS JOIN generate_series(1, :sitting) AS e (n)
    """
)
_MARK = sa.text(
    "INSERT INTO dirty_user_days (user_id, day)"
    " SELECT DISTINCT user_id, CAST(:day AS date) FROM events WHERE created_at >= :start AND created_at < :end"
)
# What a team without rollups would run: every window of every user out of the raw events, classified.
_BASELINE = sa.text(
    """
    CREATE TEMPORARY TABLE baseline ON COMMIT DROP AS
    WITH counted AS (
        SELECT user_id, max(created_at) AS last_at,
               count(*) FILTER (WHERE created_at >= CAST(:last AS date) - 6) AS events_7d,
               count(*) FILTER (WHERE created_at >= CAST(:last AS date) - 29) AS events_30d,
               count(*) AS events_90d,
               count(*) FILTER (WHERE event = 'lesson_complete' AND created_at >= CAST(:last AS date) - 6)
                   AS lessons_7d,
               count(*) FILTER (WHERE event = 'lesson_complete' AND created_at >= CAST(:last AS date) - 29)
                   AS lessons_30d,
               count(DISTINCT created_at::date) FILTER (WHERE created_at >= CAST(:last AS date) - 29) AS days_30d,
               count(DISTINCT created_at::date) AS days_90d,
               sum(seconds) FILTER (WHERE created_at >= CAST(:last AS date) - 6) AS seconds_7d,
               count(*) FILTER (WHERE event = 'email_open') AS opens, sum(amount) AS revenue,
               count(DISTINCT lesson_id) FILTER (WHERE event = 'lesson_complete') AS lessons_done
          FROM events WHERE created_at >= CAST(:last AS date) - 89 AND event <> 'email_sent'
         GROUP BY user_id)
    SELECT user_id, CASE WHEN last_at < CAST(:last AS date) - 30 THEN 'lost'
                         WHEN last_at < CAST(:last AS date) - 14 THEN 'dormant'
                         WHEN lessons_7d >= 5 THEN 'active' ELSE 'moderate' END AS level,
           events_7d, events_30d, events_90d, lessons_30d, days_30d, days_90d, seconds_7d, opens, revenue, lessons_done
      FROM counted
    """
)


def measure(folder: Path, *, users: int, events: int, say: Say) -> list[Result]:
    """Build the academy, run the chain for one new day, and compare. Returns one result a budget."""
    server = EmbeddedServer(folder)
    server.start()
    try:
        store = Store(server.ensure_database("bench"))
        with store.transaction() as conn:
            migrate(conn)
        return _measure(store, users=users, events=events, say=say)
    finally:
        server.stop("immediate")


def _measure(store: Store, *, users: int, events: int, say: Say) -> list[Result]:
    a_day = events // DAYS
    with timed(say, f"make {events:,} events of {users:,} users"), store.transaction() as conn:
        conn.execute(
            sa.text("INSERT INTO users (id, joined_at) SELECT 'u' || n, :joined FROM generate_series(0, :users - 1) n"),
            {"users": users, "joined": NOW - timedelta(days=200)},
        )
        rules_engine.install_starters(conn, NOW)
        for back in range(DAYS, 0, -1):
            _make_day(conn, LAST - back * DAY, users, a_day)
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.exec_driver_sql("VACUUM ANALYZE")
    with timed(say, "first rollup of everything") as first:
        _chain(store, LAST - DAY, everyone=True)
    _age_rules(store)
    with store.transaction() as conn:
        _make_day(conn, LAST, users, a_day)
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.exec_driver_sql("VACUUM ANALYZE")
    gc.collect()
    memory = psutil.Process().memory_info().rss
    with timed(say, "the daily chain, incremental") as chain:
        parts = _chain(store, LAST, everyone=True, say=say)
    growth = (psutil.Process().memory_info().rss - memory) / 2**20
    with timed(say, "the windows of everyone, rebuilt from rollups") as rebuild, store.transaction() as conn:
        activity.refresh(conn, LAST, everyone=True)
    with timed(say, "classify everyone again, published") as classify, store.transaction() as conn:
        classifier.classify(conn, LAST, settings=SETTINGS, everyone=True)
    baseline = statistics.median(_baseline(store, say) for _ in range(3))
    return [
        Result("one set-based SQL over raw events", baseline, "s"),
        Result("daily chain, incremental", chain.seconds, "s"),
        *(Result(f"  of it {name}", seconds, "s") for name, seconds in parts.items()),
        Result("daily chain, incremental / SQL over raw events", chain.seconds / baseline, "ratio", 0.08),
        Result("full rebuild of windows from rollups / SQL over raw events", rebuild.seconds / baseline, "ratio", 0.3),
        Result("first rollup of everything", first.seconds, "s"),
        Result("classify everyone, nothing changed", classify.seconds, "s"),
        Result("process growth over the daily chain", growth, "MB", 100),
    ]


def _age_rules(store: Store) -> None:
    """Let the rules be a month old: freshly published ones also answer every standing state, once."""
    with store.transaction() as conn:
        conn.exec_driver_sql("ALTER TABLE rule_versions DISABLE TRIGGER USER")
        conn.execute(sa.text("UPDATE rule_versions SET published_at = :then"), {"then": NOW - timedelta(days=30)})
        conn.exec_driver_sql("ALTER TABLE rule_versions ENABLE TRIGGER USER")


def _make_day(conn: Connection, day: date, users: int, count: int) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    partitions.ensure_days(conn, [day], LAST)
    conn.execute(
        _EVENTS,
        {
            "day": day.isoformat(),
            "users": users,
            "start": start,
            "sittings": count // _SITTING,
            "sitting": _SITTING,
        },
    )
    conn.execute(_MARK, {"day": day, "start": start, "end": start + timedelta(days=1)})


def _chain(store: Store, as_of: date, *, everyone: bool, say: Say | None = None) -> dict[str, float]:
    """Run the stages of the daily job, each in its own transaction as the job does; return seconds a stage."""
    stages = {
        "rollup": activity.rollup,
        "windows": lambda conn: activity.refresh(conn, as_of),
        "classify": lambda conn: classifier.classify(conn, as_of, settings=SETTINGS, everyone=everyone),
        "score": lambda conn: predictor.score(conn, as_of, settings=SETTINGS, everyone=everyone),
        "rules": lambda conn: decider.propose(
            conn, as_of=as_of, now=NOW, triggers=("time_based", "segment_based"), everyone=everyone
        ),
    }
    seconds: dict[str, float] = {}
    for name, call in stages.items():
        with timed(say or (lambda _: None), name) as watch, store.transaction() as conn:
            call(conn)
        seconds[name] = watch.seconds
    return seconds


def _baseline(store: Store, say: Say) -> float:
    with timed(say, "one set-based SQL over raw events") as watch, store.transaction() as conn:
        conn.execute(_BASELINE, {"last": LAST})
    return watch.seconds
