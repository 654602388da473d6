"""A large academy made in SQL, so that only what is asked of it is measured.

Sittings of eight events, skewed over users, for 90 days; the newest day comes after the rest was worked out, as a daily
run finds it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from bench.result import Say, quiet, timed
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


@dataclass(frozen=True)
class Academy:
    """The database of an academy whose newest day waits to be worked out; a day brings `a_day` events."""

    store: Store
    users: int
    a_day: int


def vacuum(store: Store) -> None:
    """Leave the tables as autovacuum would after a while."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.exec_driver_sql("SET default_statistics_target = 100")
        conn.exec_driver_sql("VACUUM ANALYZE")
        conn.exec_driver_sql("CHECKPOINT")


@contextmanager
def server(folder: Path) -> Iterator[EmbeddedServer]:
    """Run a PostgreSQL of our own for as long as it is measured."""
    made = EmbeddedServer(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop("immediate")


@contextmanager
def database(made: EmbeddedServer, name: str, *, template: str | None = None) -> Iterator[Store]:
    """Make a migrated database, or a copy of one nobody is connected to, and drop it afterwards."""
    store = Store(made.ensure_database(name, template=template))
    with store.transaction() as conn:
        migrate(conn)
    yield store
    store.close()
    made.drop_database(name)


def build(store: Store, *, users: int, a_day: int, newest: int, say: Say) -> Academy:
    """Fill a database: `a_day` events on each of 90 days, worked out, and `newest` on the day after, which waits."""
    made = Academy(store, users, a_day)
    with timed(say, f"make {a_day * DAYS:,} events of {users:,} users"), store.transaction() as conn:
        conn.execute(
            sa.text("INSERT INTO users (id, joined_at) SELECT 'u' || n, :joined FROM generate_series(0, :users - 1) n"),
            {"users": users, "joined": NOW - timedelta(days=200)},
        )
        rules_engine.install_starters(conn, NOW)
        for back in range(DAYS, 0, -1):
            _make_day(conn, LAST - back * DAY, users, a_day)
    vacuum(store)
    with timed(say, "work everything out for the first time"):
        run_chain(store, LAST - DAY)
    _age_rules(store)
    with store.transaction() as conn:
        _make_day(conn, LAST, users, newest)
    vacuum(store)
    return made


def add_day(academy: Academy, day: date) -> None:
    """Let one more day of events come in."""
    with academy.store.transaction() as conn:
        _make_day(conn, day, academy.users, academy.a_day)


def run_chain(store: Store, as_of: date, *, say: Say = quiet) -> dict[str, float]:
    """Run the stages of the daily job, each in its own transaction as the job does; return seconds a stage."""
    stages = {
        "rollup": activity.rollup,
        "windows": lambda conn: activity.refresh(conn, as_of),
        "classify": lambda conn: classifier.classify(conn, as_of, settings=SETTINGS, everyone=True),
        "score": lambda conn: predictor.score(conn, as_of, settings=SETTINGS, everyone=True),
        "rules": lambda conn: decider.propose(
            conn, as_of=as_of, now=NOW, triggers=("time_based", "segment_based"), everyone=True
        ),
    }
    seconds: dict[str, float] = {}
    for name, call in stages.items():
        with timed(say, name) as watch, store.transaction() as conn:
            call(conn)
        seconds[name] = watch.seconds
    return seconds


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
