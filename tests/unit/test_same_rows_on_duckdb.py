"""One definition, any engine: the expressions of the stages give the same rows on DuckDB as on PostgreSQL."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import duckdb
import ibis
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import predictor, reasons
from oracle_lib.analyze.classifier import segment_expr
from oracle_lib.analyze.customers import customers_expr, held_out_expr, purchases_expr
from oracle_lib.analyze.features import state_expr
from oracle_lib.analyze.predictor import Model
from oracle_lib.analyze.targets import FEATURES, TARGETS
from oracle_lib.observe import activity
from oracle_lib.observe.habits import habits_expr
from oracle_lib.observe.moments import OneDay
from oracle_lib.storage import tables
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.publish import compiled, run
from tests import world
from tests.conftest import NOW, fresh_database
from tests.second_engine import copied

READ = (
    tables.events,
    tables.users,
    tables.user_days,
    tables.user_day_events,
    tables.user_lessons,
    tables.habits,
    tables.activity,
    tables.lessons,
)
AS_OF = date(2026, 3, 4)
PROFILES = [
    ("America/New_York", {"goal": "hobby", "learningStyle": "audio"}),
    ("Asia/Kolkata", {"goal": "fame", "learningStyle": "osmosis"}),
    ("Australia/Sydney", {"persona": "teacher", "goal": "hobby"}),
    ("Nowhere/Atall", {"persona": "", "goal": 7, "learningStyle": None}),
    ("Europe/Berlin", {"persona": ["a"], "goal": {"b": "c"}}),
]
FORMULA = {
    "calibration": {"level": 0.1, "steepness": 0.9},
    "parts": [
        {"curve": {"intercept": -2.5, "slope": 1.1}},
        {
            "trees": {
                "features": ["lesson_complete_total", "quiz_fail_30d", "refunds"],
                "baseline": 0.2,
                "trees": [
                    [0, 0.5, True, 0.9, [1, 1.5, False, -0.4, 1.2]],
                    [2, 1e-35, True, -0.1, [0, 12.5, True, 2.1, 1.4]],
                ],
            }
        },
    ],
    "typical": dict.fromkeys(FEATURES, 1.0),
}
MODEL = Model(id="00000000-0000-7000-8000-000000000000", version=1, parameters=FORMULA)


@pytest.fixture(scope="module")
def academy(server: EmbeddedServer) -> Iterator[Connection]:
    """A few hundred users with courses, in PostgreSQL."""
    with fresh_database(server) as url:
        store = Store(url)
        with store.engine.connect() as conn:
            conn.execute(sa.insert(tables.courses), [{"id": f"c{n}", "title": f"Course {n}"} for n in range(2)])
            conn.execute(
                sa.insert(tables.lessons),
                [
                    {"course_id": f"c{c}", "id": f"l{n}", "title": "x", "position": n}
                    for c in range(2)
                    for n in range(9)
                ],
            )
            world.post(conn, list(world.events(7000, users=250, until=NOW, days=100, seed=11)), NOW)
            for number, (zone, traits) in enumerate(PROFILES):
                named = tables.users.c.id.like(f"u%{number}")
                conn.execute(sa.update(tables.users).where(named).values(time_zone=zone, traits=traits))
            world.run_stages(conn, AS_OF)
            yield conn
        store.close()


@pytest.fixture(scope="module")
def duck(academy: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same stored rows in DuckDB."""
    with copied(academy, READ, tmp_path_factory.mktemp("rows")) as there:
        yield there


EXPRESSIONS: dict[str, Callable[[], ibis.Table]] = {
    "user_days": lambda: activity.user_days_expr(AS_OF - timedelta(days=100), AS_OF + timedelta(days=1)),
    "user_day_events": lambda: activity.user_day_events_expr(AS_OF - timedelta(days=100), AS_OF),
    "user_lessons": lambda: activity.user_lessons_expr(AS_OF - timedelta(days=100), AS_OF),
    "activity": lambda: activity.activity_expr(OneDay(AS_OF)),
    "progress": lambda: activity.progress_expr(OneDay(AS_OF)),
    "habits": lambda: habits_expr(OneDay(AS_OF)),
    "activity of a past day": lambda: activity.activity_expr(OneDay(AS_OF - timedelta(days=33))),
    "segments": lambda: segment_expr(state_expr(OneDay(AS_OF), current=True), world.SETTINGS),
    "purchases": lambda: purchases_expr(AS_OF),
    "customers": lambda: customers_expr(AS_OF),
    "customers, and what they paid later": lambda: held_out_expr(AS_OF - timedelta(days=7), AS_OF),
    "segments of a past day": lambda: segment_expr(state_expr(OneDay(AS_OF - timedelta(days=20))), world.SETTINGS),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_gives_the_same_rows_on_both_engines(
    academy: Connection, duck: duckdb.DuckDBPyConnection, name: str
) -> None:
    expression = EXPRESSIONS[name]()
    here = sorted((tuple(row) for row in run(academy, compiled(expression))), key=repr)
    there = duck.execute(str(ibis.to_sql(expression, dialect="duckdb"))).fetchall()
    assert len(here) > 50
    assert sorted((tuple(row) for row in there), key=repr) == here


@pytest.mark.parametrize("standing", [{}, {one.name: MODEL for one in TARGETS}], ids=["without", "with models"])
def test_scoring_gives_the_same_rows_on_both_engines(
    academy: Connection, duck: duckdb.DuckDBPyConnection, standing: dict[str, Model]
) -> None:
    asked = predictor.asked_expr(predictor.so_far(state_expr(OneDay(AS_OF))))
    steps = {
        predictor.SCORED: predictor.scores_sql(standing),
        reasons.TABLE: reasons.sql(MODEL.parameters if standing else None),
    }
    engines: dict[str, Callable[[str], object]] = {"postgres": lambda sql: run(academy, sql), "duckdb": duck.execute}
    for dialect, execute in engines.items():
        for name, query in {predictor.ASKED: str(ibis.to_sql(asked, dialect=dialect)), **steps}.items():
            execute(f"DROP TABLE IF EXISTS {name}")
            execute(f"CREATE TEMP TABLE {name} AS {query}")
    told = predictor.told_expr()
    here = sorted((tuple(row) for row in run(academy, compiled(told))), key=repr)
    there = duck.execute(str(ibis.to_sql(told, dialect="duckdb"))).fetchall()
    assert sorted((tuple(row) for row in there), key=repr) == here
    reasons_ = {row[-1] for row in here}
    assert len(here) > 50
    assert len(reasons_ - {None}) >= (3 if standing else 1), reasons_
