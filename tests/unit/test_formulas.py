"""What was trained in Python says the same in SQL: to the last digits, for every kind of candidate, with unknowns."""

import json
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import candidates, formulas
from oracle_lib.analyze.candidates import BLEND, KINDS, RECENCY, Candidate, Rows
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


def said_in_sql(rows: Rows, columns: dict[str, str], conn: Connection) -> dict[str, list[float]]:
    """What each column of SQL says of every row in PostgreSQL, after DuckDB said the same."""
    table = rows.features.reset_index(names="place")
    values = table.astype(object).where(table.notna(), None)
    listed = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    query = f"SELECT {listed} FROM formula_rows ORDER BY place"

    names = ", ".join(f"{name} double precision" for name in rows.features.columns)
    conn.execute(sa.text(f"CREATE TEMP TABLE formula_rows (place integer, {names}) ON COMMIT DROP"))
    with conn.connection.cursor() as cursor, cursor.copy("COPY formula_rows FROM STDIN") as copy:
        for row in values.itertuples(index=False):
            copy.write_row(row)
    here = list(zip(*run(conn, query), strict=True))

    with duckdb.connect() as engine:
        engine.register("counted", table)
        engine.execute("CREATE TABLE formula_rows AS SELECT * FROM counted")
        engine.execute("UPDATE formula_rows SET count_3 = NULL WHERE isnan(count_3)")
        there = list(zip(*engine.execute(query).fetchall(), strict=True))
    for one, other in zip(here, there, strict=True):
        assert one == pytest.approx(other, abs=1e-12)
    return {name: list(column) for name, column in zip(columns, here, strict=True)}


def written(candidate: Candidate, rows: Rows) -> dict[str, Any]:
    """A candidate as it is kept."""
    typical = {name: float(value) for name, value in rows.features.median().items()}
    return json.loads(json.dumps({**formulas.of(candidate), "typical": typical}))


def ahead(rows: Rows, features: pd.DataFrame) -> Rows:
    """The rows long after training, with other features."""
    return Rows(features, features["recency"].to_numpy(), rows.user, np.full(len(rows), 1e9), rows.outcome)


@pytest.mark.parametrize("kind", KINDS)
def test_a_formula_says_what_its_candidate_says(
    conn: Connection, rows: Rows, fitted: dict[str, Candidate], kind: str
) -> None:
    formula = written(fitted[kind], rows)
    said = said_in_sql(rows, {"said": formulas.probability_sql(formula)}, conn)["said"]
    assert said == pytest.approx(fitted[kind].probability(ahead(rows, rows.features)).tolist(), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_contribution_is_what_the_candidate_says_less_what_it_would_say_of_typical_values(
    conn: Connection, rows: Rows, fitted: dict[str, Candidate], kind: str
) -> None:
    groups = {"silence": ["recency"], "counts": ["count_1", "count_3"], "money": ["amount"], "nothing": []}
    formula, candidate = written(fitted[kind], rows), fitted[kind]
    columns = {name: formulas.contribution_sql(formula, names) for name, names in groups.items()}
    added = said_in_sql(rows, columns, conn)
    whole = logit(candidate.probability(ahead(rows, rows.features)))
    for name, group in groups.items():
        replaced = rows.features.assign(**{one: formula["typical"][one] for one in group})
        without = logit(candidate.probability(ahead(rows, replaced)))
        assert added[name] == pytest.approx((whole - without).tolist(), abs=1e-9)
    assert set(added["nothing"]) == {0.0}
    assert max(map(abs, added["silence"])) > 0.1


def logit(probability: np.ndarray) -> np.ndarray:
    return np.log(probability / (1 - probability))


def test_a_formula_names_the_features_it_reads(rows: Rows, fitted: dict[str, Candidate]) -> None:
    assert formulas.features(formulas.of(fitted[RECENCY])) == ["recency"]
    assert formulas.features(formulas.of(fitted[BLEND])) == sorted(rows.features.columns)
