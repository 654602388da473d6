"""What was trained in Python says the same in SQL: to the last digits, for every kind of candidate, with unknowns."""

import json
from typing import Any

import duckdb
import ibis
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import candidates, formulas
from oracle_lib.analyze.candidates import BLEND, BOOSTING, LOGISTIC, RECENCY, Candidate, Rows
from oracle_lib.storage.publish import run

USERS = 4_000


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Counts, some of them unknown, an amount, and silence; the outcome follows three of them."""
    rnd = np.random.default_rng(1)
    features = pd.DataFrame({f"count_{n}": rnd.poisson(2.0 * n + 1, USERS).astype(float) for n in range(5)})
    features["amount"] = np.round(rnd.normal(20, 30, USERS), 2)
    features["recency"] = rnd.exponential(5, USERS)
    features.loc[rnd.random(USERS) < 0.2, "count_3"] = np.nan
    logit = (
        0.4 * features["recency"] - 0.3 * features["count_1"] + features["count_3"].isna() - 0.02 * features["amount"]
    )
    outcome = (rnd.random(USERS) < 1 / (1 + np.exp(-logit))).astype(float).to_numpy()
    moment = np.sort(rnd.integers(0, 8, USERS)).astype(float)
    return Rows(features, features["recency"].to_numpy(), np.arange(USERS), moment, outcome)


@pytest.fixture(scope="module")
def fitted(rows: Rows) -> dict[str, Candidate]:
    return candidates.fit(rows)


def in_sql(rows: Rows, parameters: dict[str, Any], dialect: str) -> str:
    """The query that asks for every row's probability, in the order of the rows."""
    there = ibis.table({"place": "int32", **dict.fromkeys(rows.features.columns, "float64")}, name="formula_rows")
    asked = there.select("place", said=formulas.probability_expr(there, parameters)).order_by("place")
    return str(ibis.to_sql(asked, dialect=dialect))


@pytest.mark.parametrize("kind", [RECENCY, LOGISTIC, BOOSTING, BLEND])
def test_a_formula_says_what_its_candidate_says(
    conn: Connection, rows: Rows, fitted: dict[str, Candidate], kind: str
) -> None:
    candidate = fitted[kind]
    parameters = json.loads(json.dumps(formulas.of(candidate)))
    ahead = Rows(rows.features, rows.recency, rows.user, np.full(USERS, 1e9), rows.outcome)
    expected = candidate.probability(ahead)

    table = rows.features.reset_index(names="place")
    values = table.astype(object).where(table.notna(), None)
    names = ", ".join(f"{name} double precision" for name in rows.features.columns)
    conn.execute(sa.text(f"CREATE TEMP TABLE formula_rows (place integer, {names}) ON COMMIT DROP"))
    with conn.connection.cursor() as cursor, cursor.copy("COPY formula_rows FROM STDIN") as copy:
        for row in values.itertuples(index=False):
            copy.write_row(row)
    said = [row.said for row in run(conn, in_sql(rows, parameters, "postgres"))]
    assert said == pytest.approx(expected.tolist(), abs=1e-12)

    with duckdb.connect() as there:
        there.register("counted", table)
        there.execute("CREATE TABLE formula_rows AS SELECT * FROM counted")
        there.execute("UPDATE formula_rows SET count_3 = NULL WHERE isnan(count_3)")
        found = [row[1] for row in there.execute(in_sql(rows, parameters, "duckdb")).fetchall()]
    assert found == pytest.approx(expected.tolist(), abs=1e-12)


def test_a_formula_names_the_features_it_reads(rows: Rows, fitted: dict[str, Candidate]) -> None:
    assert formulas.features(formulas.of(fitted[RECENCY])) == ["recency"]
    assert formulas.features(formulas.of(fitted[BLEND])) == sorted(rows.features.columns)
