"""What each customer will pay in the days ahead, with an 80 % interval: kept only while the forecast is earned.

Each time the models are first fitted on what was known a horizon ago and held against what came since
(`value_backtest.py`). If that holds they are fitted again on all that is known, kept as a version of the model `ltv`,
and `value_forecasts` gets a row a customer. If it does not, no forecast stands: the one that did is withdrawn, since
nothing says any more that it is right. The models: `lifetime_value.py`; what a purchase is: `customers.py`.
"""

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import lifetime_value, model_versions, value_backtest
from oracle_lib.analyze.customers import HISTORY, customers_expr, held_out_expr
from oracle_lib.analyze.lifetime_value import Customers, Fit
from oracle_lib.analyze.value_backtest import DAYS_A_WEEK, KIND, ValueMetrics, Verdict
from oracle_lib.errors import Invalid
from oracle_lib.settings import Settings
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import Scope, compiled, publish, run, scratch_table
from oracle_lib.storage.relations import scratch
from oracle_lib.storage.tables import models, value_forecasts

if TYPE_CHECKING:
    from oracle_lib.analyze.lifetime_value import Array

TARGET = "ltv"
_MONEY = "decimal(12, 2)"
# Temporary tables: customers with the number of their history, and what a history of that number is worth.
_NUMBERED = scratch(
    "numbered_customers",
    {"user_id": "string", **dict.fromkeys(HISTORY[:3], "int32"), "paid": _MONEY, "history": "int64"},
)
_VALUED = scratch("valued_histories", {"history": "int64", "expected": _MONEY, "lower": _MONEY, "upper": _MONEY})
_MAKE_VALUED = """
    DROP TABLE IF EXISTS valued_histories;
    CREATE TEMPORARY TABLE valued_histories (
        history bigint, expected numeric(12, 2), lower numeric(12, 2), upper numeric(12, 2)
    ) ON COMMIT DROP
"""
_FILL_VALUED = sa.text(
    """
    INSERT INTO valued_histories (expected, lower, upper, history)
    SELECT * FROM unnest(CAST(:expected AS float8[]), CAST(:lower AS float8[]), CAST(:upper AS float8[]))
      WITH ORDINALITY
    """
)


@dataclass(frozen=True)
class ForecastReport:
    """One forecast: whether it stands and why, of how many customers, what they will pay in all, and rows written.

    `metrics` are those of the days that were held out; None where there was too little to try it on.
    """

    as_of: date
    horizon_days: int
    promoted: bool
    version: int | None
    customers: int
    written: int
    expected: Decimal
    metrics: ValueMetrics | None
    note: str


def forecast(conn: Connection, as_of: date, *, settings: Settings) -> ForecastReport:
    """Try the models on the last `ltv_horizon_days` up to `as_of`, and forecast as many if they hold.

    Idempotent: the same again makes no new version and writes no row. Nothing after `as_of` is read.
    """
    lock(conn, models.name)
    lock(conn, value_forecasts.name)
    days = settings.ltv_horizon_days
    scratch_table(conn, _NUMBERED.get_name(), _numbered(customers_expr(as_of)))
    try:
        told = _tried(conn, as_of, days)
        histories, buyers = _histories(conn)
        fitted = lifetime_value.fit(_everybody(histories, buyers))
        expected = lifetime_value.expected_value(fitted, histories, days / DAYS_A_WEEK)
    except Invalid as reason:
        return ForecastReport(as_of, days, False, None, 0, _withdraw(conn), Decimal(0), None, str(reason))
    verdict = value_backtest.verdict(told)
    since = as_of - timedelta(days=round(float(histories.known.max()) * DAYS_A_WEEK))
    kept = model_versions.keep(conn, _trained(fitted, told, verdict, since, as_of))
    if not verdict.holds:
        return ForecastReport(as_of, days, False, kept.version, 0, _withdraw(conn), Decimal(0), told, verdict.note)
    _keep_values(conn, expected, *value_backtest.intervals(fitted, histories, days / DAYS_A_WEEK))
    done = publish(conn, value_forecasts, _forecasts_expr(as_of, days, kept.id), key=("user_id",), scope=Scope(None))
    customers, total = conn.execute(sa.select(sa.func.count(), sa.func.sum(value_forecasts.c.expected))).one()
    return ForecastReport(as_of, days, True, kept.version, customers, done.written, total, told, verdict.note)


def _tried(conn: Connection, as_of: date, days: int) -> ValueMetrics:
    """Return how a forecast made `days` ago would have done. Raises `Invalid` where there is too little to say."""
    held_out = held_out_expr(as_of - timedelta(days=days), as_of)
    rows = _numbers(conn, held_out.select(*HISTORY, "came").order_by(*HISTORY, "came"))
    return value_backtest.try_out(_customers(rows), rows[:, -1], days)


def _numbered(customers: ibis.Table) -> ibis.Table:
    """Add `history`, a number from 1 that customers share who did the same."""
    order = [customers[name] for name in HISTORY]
    return customers.mutate(history=ibis.dense_rank().over(order_by=order) + 1)


def _histories(conn: Connection) -> "tuple[Customers, Array]":
    """Return the distinct histories by their number, and how many customers have each."""
    counted = _NUMBERED.group_by("history", *HISTORY).aggregate(buyers=_NUMBERED.count())
    rows = _numbers(conn, counted.order_by("history").select(*HISTORY, "buyers"))
    return _customers(rows), rows[:, -1]


def _numbers(conn: Connection, rows: ibis.Table) -> "Array":
    """Return rows of numbers as an array, without holding them as objects."""
    import numpy as np

    plain = rows.mutate(**{name: rows[name].cast("float64") for name in rows.columns})
    found = (tuple(row) for row in run(conn, compiled(plain)))
    return np.fromiter(found, dtype=np.dtype((float, len(rows.columns))))


def _customers(rows: "Array") -> Customers:
    """Return customers from rows that begin with `HISTORY`."""
    import numpy as np

    repeats, last, known, paid = rows[:, : len(HISTORY)].T
    return Customers(repeats, last / DAYS_A_WEEK, known / DAYS_A_WEEK, paid / np.maximum(repeats, 1))


def _everybody(histories: Customers, buyers: "Array") -> Customers:
    """Return each history as often as there are customers who have it."""
    import numpy as np

    times = buyers.astype(int)
    columns = (histories.repeats, histories.last, histories.known, histories.amount)
    return Customers(*(np.repeat(column, times) for column in columns))


def _keep_values(conn: Connection, expected: "Array", lower: "Array", upper: "Array") -> None:
    """Keep what each history is worth in a temporary table until the transaction ends."""
    run(conn, _MAKE_VALUED)
    values = {"expected": expected, "lower": lower, "upper": upper}
    conn.execute(_FILL_VALUED, {name: value.tolist() for name, value in values.items()})
    run(conn, "ANALYZE valued_histories")


def _forecasts_expr(as_of: date, days: int, model_id: UUID) -> ibis.Table:
    """Return the rows of `value_forecasts`: what a customer's history is worth."""
    return _NUMBERED.join(_VALUED, "history").select(
        "user_id",
        "expected",
        "lower",
        "upper",
        as_of=ibis.literal(as_of),
        horizon_days=ibis.literal(days).cast("int32"),
        model_id=ibis.literal(str(model_id)).cast("uuid"),
    )


def _trained(fitted: Fit, told: ValueMetrics, verdict: Verdict, since: date, as_of: date) -> model_versions.Trained:
    return model_versions.Trained(
        target=TARGET,
        kind=KIND,
        promoted=verdict.holds,
        parameters={"kind": KIND, "horizon_days": told.days, **asdict(fitted)},
        features=HISTORY,
        trained_from=since,
        trained_to=as_of,
        metrics=told.as_json(),
        note=verdict.note,
    )


def _withdraw(conn: Connection) -> int:
    """Let no forecast stand; return how many did."""
    model_versions.retire(conn, TARGET)
    return conn.execute(sa.delete(value_forecasts)).rowcount
