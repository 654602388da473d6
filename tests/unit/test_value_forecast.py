"""The lifetime value forecast: as good as it says where customers live by its models, silent where it is not earned."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib import stages
from oracle_lib.analyze import value_backtest, value_forecast
from oracle_lib.analyze.customers import HISTORY, customers_expr
from oracle_lib.analyze.value_backtest import Errors, ValueMetrics
from oracle_lib.analyze.value_forecast import ForecastReport
from oracle_lib.clock import DAY, newest_closed_day, newest_closed_week
from oracle_lib.observe import activity
from oracle_lib.settings import Settings
from oracle_lib.storage import tables
from oracle_lib.storage.engine import Store
from oracle_lib.storage.publish import compiled, run
from oracle_lib.window import Week
from tests import world
from tests.conftest import NOW
from tests.unit.test_lifetime_value import BUYING, SPENDING

AS_OF = newest_closed_day(NOW)
DAYS, HORIZON = 420, 84
CUT = AS_OF - timedelta(days=HORIZON)
SETTINGS = Settings(ltv_horizon_days=HORIZON)


def life(rnd: np.random.Generator) -> Iterator[tuple[date, float]]:
    """What somebody who lives by the models buys, from some day of the last 420 until the horizon ends."""
    rate, leaving = rnd.gamma(BUYING.r) / BUYING.alpha / 7, rnd.beta(BUYING.a, BUYING.b)
    spends = SPENDING.gamma / rnd.gamma(SPENDING.q)
    when = rnd.uniform(0, DAYS)
    leaves = False
    while when < DAYS + HORIZON and not leaves:
        yield AS_OF - timedelta(days=DAYS - 1 - int(when)), round(rnd.gamma(SPENDING.p) * spends + 0.01, 2)
        leaves = rnd.random() < leaving
        when += rnd.exponential(1 / rate)


def opened(conn: Connection, customers: int, *, until: date = AS_OF, seed: int = 1) -> dict[str, float]:
    """Let customers buy up to and with `until`; return what each pays in the horizon after the day of the forecast."""
    rnd = np.random.default_rng(seed)
    bodies, later = [], {}
    for number in range(customers):
        bought = list(life(rnd))
        later[f"c{number}"] = sum(paid for day, paid in bought if day > AS_OF)
        bodies += [
            bought_on(f"c{number}", day, paid, f"{number}-{place}")
            for place, (day, paid) in enumerate(bought)
            if day <= until
        ]
    world.post(conn, bodies, NOW)
    activity.rollup(conn)
    return later


def bought_on(user: str, day: date, amount: float | None, message: str, name: str = "purchase") -> bytes:
    metadata = {} if amount is None else {"amount": amount}
    return world.event(user, name, NOW - (NOW.date() - day), messageId=message, metadata=metadata)


def forecast(conn: Connection, as_of: date = AS_OF) -> ForecastReport:
    return value_forecast.forecast(conn, as_of, settings=SETTINGS)


def standing(conn: Connection) -> list[tuple[object, ...]]:
    return world.rows(conn, tables.value_forecasts)


def versions(conn: Connection) -> list[tuple[int, str]]:
    chosen = sa.select(tables.models.c.version, tables.models.c.status).where(tables.models.c.target == "ltv")
    return [tuple(row) for row in conn.execute(chosen.order_by(tables.models.c.version))]


def test_what_is_forecast_comes_and_lies_in_its_interval_as_often_as_it_says(conn: Connection) -> None:
    later = opened(conn, 2_500)
    report = forecast(conn)
    assert report.promoted, report.note
    told = report.metrics
    assert told is not None
    of_one = (told.upper - told.lower) / 2.56  # an 80 % interval is 2.56 standard deviations wide
    assert abs(told.expected - told.actual) < 4 * of_one
    rows = conn.execute(sa.select(tables.value_forecasts)).all()
    assert len(rows) == report.customers == 2_500
    assert {(row.as_of, row.horizon_days) for row in rows} == {(AS_OF, HORIZON)}
    came = sum(later.values())
    print(f"{report.expected} expected, {came:.2f} came; hold-out coverage {told.coverage}, off {told.off_percent} %")
    assert abs(float(report.expected) - came) < 4 * of_one
    asked = [row for row in rows if row.upper > 0]
    held = np.mean([float(row.lower) - 0.01 <= later[row.user_id] <= float(row.upper) + 0.01 for row in asked])
    print(f"{held:.3f} of {len(asked)} intervals held")
    assert len(asked) > 800
    assert 0.75 <= held <= 0.85


def test_the_same_again_makes_no_version_and_writes_nothing(conn: Connection) -> None:
    opened(conn, 800)
    first, before = forecast(conn), standing(conn)
    again = forecast(conn)
    assert (first.promoted, first.version, first.written) == (True, 1, 800)
    assert (again.version, again.written, again.expected) == (1, 0, first.expected)
    assert standing(conn) == before
    assert versions(conn) == [(1, "promoted")]


def test_nothing_after_the_day_changes_the_forecast(conn: Connection) -> None:
    opened(conn, 800)
    earlier = AS_OF - timedelta(days=60)
    with_future = forecast(conn, earlier)
    before = standing(conn)
    conn.execute(sa.delete(tables.user_days).where(tables.user_days.c.day > earlier))
    without = forecast(conn, earlier)
    assert with_future.promoted
    assert replace(without, written=with_future.written) == with_future
    assert (without.written, standing(conn), versions(conn)) == (0, before, [(1, "promoted")])


def test_more_known_makes_a_new_version_and_moves_every_row(conn: Connection) -> None:
    opened(conn, 800)
    forecast(conn, AS_OF - timedelta(days=7))
    report = forecast(conn)
    assert (report.promoted, report.customers) == (True, 800)
    assert versions(conn) == [(1, "retired"), (2, "promoted")]
    assert set(conn.scalars(sa.select(tables.value_forecasts.c.as_of))) == {AS_OF}


def test_with_too_few_who_bought_again_nothing_is_forecast_and_the_reason_is_said(conn: Connection) -> None:
    opened(conn, 40)
    report = forecast(conn)
    assert (report.promoted, report.version, report.customers, report.metrics) == (False, None, 0, None)
    assert "customers bought again; at least 30 are needed" in report.note
    assert (standing(conn), versions(conn)) == ([], [])


@pytest.mark.parametrize("customers", [0, 300])
def test_a_history_shorter_than_what_is_held_out_is_too_little(conn: Connection, customers: int) -> None:
    opened(conn, customers)
    conn.execute(sa.delete(tables.user_days).where(tables.user_days.c.day < CUT - timedelta(days=HORIZON - 1)))
    report = forecast(conn)
    assert (report.promoted, report.version) == (False, None)
    assert report.note.startswith("Too little history")


def test_where_buying_stops_the_forecast_is_not_earned_and_the_one_that_stood_is_withdrawn(conn: Connection) -> None:
    opened(conn, 800, until=CUT)
    assert forecast(conn, CUT).promoted
    assert len(standing(conn)) > 500
    report = forecast(conn)
    assert not report.promoted
    assert "nothing came" in report.note
    assert standing(conn) == []
    assert versions(conn) == [(1, "retired"), (2, "held")]
    assert forecast(conn).version == 2


GOOD = ValueMetrics(
    customers=900,
    repeaters=400,
    days=HORIZON,
    expected=1_030.0,
    lower=950.0,
    upper=1_110.0,
    actual=1_000.0,
    off_percent=3.0,
    coverage=0.79,
    with_interval=500,
    errors_of={"bg_nbd": Errors(5.0, 9.0), "own_rate": Errors(6.0, 11.0), "mean": Errors(7.0, 10.0)},
    groups=(),
)


def with_errors(of: str, mean_absolute: float, root_mean_square: float) -> ValueMetrics:
    return replace(GOOD, errors_of={**GOOD.errors_of, of: Errors(mean_absolute, root_mean_square)})


def test_what_is_close_enough_and_better_than_both_baselines_is_earned() -> None:
    assert value_backtest.verdict(GOOD).holds
    assert value_backtest.verdict(replace(GOOD, off_percent=-25.0, coverage=0.9)).holds


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (replace(GOOD, off_percent=25.1), "more than 25 % off"),
        (replace(GOOD, off_percent=-25.1), "more than 25 % off"),
        (replace(GOOD, off_percent=None, actual=0.0), "nothing came"),
        (replace(GOOD, coverage=0.69), "69% of the intervals held instead of 80%"),
        (replace(GOOD, coverage=0.91), "91% of the intervals held instead of 80%"),
        (replace(GOOD, with_interval=29), "only 29 customers have an interval"),
        (replace(GOOD, with_interval=0, coverage=None), "only 0 customers have an interval"),
        (with_errors("own_rate", 5.0, 11.0), "no better than their own past rate"),
        (with_errors("mean", 7.0, 8.9), "no better than everybody's mean"),
    ],
)
def test_each_thing_that_speaks_against_a_forecast_holds_it_back(told: ValueMetrics, reason: str) -> None:
    verdict = value_backtest.verdict(told)
    assert not verdict.holds
    assert verdict.note.startswith("Held back: ")
    assert reason in verdict.note


PURCHASES = {
    "one purchase": ([("purchase", 20, 50)], (0, 0, 20, 0)),
    "an upgrade is one too": ([("purchase", 20, 50), ("upgrade", 5, 30)], (1, 15, 20, 30)),
    "two on a day are one": ([("purchase", 20, 50), ("purchase", 5, 30), ("purchase", 5, 12)], (1, 15, 20, 42)),
    "without an amount it is none": ([("purchase", 20, 50), ("purchase", 5, None)], (0, 0, 20, 0)),
    "given back is none": ([("purchase", 20, 50), ("purchase", 9, 30), ("refund", 5, 30)], (0, 0, 20, 0)),
    "partly given back": ([("purchase", 20, 50), ("purchase", 9, 30), ("refund", 5, 10)], (1, 11, 20, 20)),
    "a refund takes what was bought last, not later": (
        [("purchase", 20, 50), ("refund", 15, 50), ("purchase", 9, 50)],
        (0, 0, 9, 0),
    ),
    "a refund larger than the last purchase takes of the one before": (
        [("purchase", 20, 50), ("purchase", 9, 30), ("refund", 5, 40), ("purchase", 1, 7)],
        (1, 19, 20, 7),
    ),
    "given back on its day": ([("purchase", 20, 50), ("purchase", 9, 30), ("refund", 9, 30)], (0, 0, 20, 0)),
    "more given back than paid is no debt": (
        [("purchase", 20, 50), ("refund", 15, 80), ("purchase", 9, 60), ("purchase", 2, 10)],
        (1, 7, 9, 10),
    ),
    "all of it given back": ([("purchase", 20, 50), ("purchase", 9, 30), ("refund", 5, 80)], None),
    "nothing but a refund": ([("refund", 5, 80)], None),
}


@pytest.mark.parametrize("case", PURCHASES)
def test_a_customer_is_what_stands_of_their_purchases(conn: Connection, case: str) -> None:
    happened, expected = PURCHASES[case]
    bodies = [
        bought_on("c1", AS_OF - timedelta(days=ago), amount, f"m{number}", name)
        for number, (name, ago, amount) in enumerate(happened)
    ]
    world.post(conn, [*bodies, bought_on("c1", AS_OF + DAY, 1000, "later")], NOW)
    activity.rollup(conn)
    found = run(conn, compiled(customers_expr(AS_OF).select(*HISTORY))).all()
    assert [tuple(map(float, row)) for row in found] == ([] if expected is None else [expected])


def test_the_weekly_stage_forecasts_as_of_the_newest_closed_day_and_an_older_week_nothing(store: Store) -> None:
    with store.transaction() as conn:
        opened(conn, 800)
    current = newest_closed_week(NOW)
    assert stages.forecast_value(store, Week(current - timedelta(days=7), NOW), SETTINGS) == stages.OLDER
    steps = dict(stages.weekly(store, Week(current, NOW), SETTINGS))
    report = steps["value_forecasts"]()
    assert isinstance(report, ForecastReport)
    assert (report.as_of, report.promoted, report.written) == (AS_OF, True, 800)
    with store.transaction() as conn:
        kept = conn.execute(sa.select(tables.models).where(tables.models.c.target == "ltv")).one()
        assert set(conn.scalars(sa.select(tables.value_forecasts.c.model_id))) == {kept.id}
    assert (kept.kind, kept.trained_to, kept.features) == ("bg_nbd", AS_OF, HISTORY)
    assert kept.parameters["horizon_days"] == HORIZON
    assert kept.parameters["buying"]["r"] == pytest.approx(BUYING.r, rel=0.5)
