"""Training: candidates compete for each target on past weeks, and who holds is kept as a version of the model.

A row is a user at the end of a past day; its label, whether the target came true within the horizon after it. Nothing
else in a row knows what came later. scikit-learn, pandas and numpy are imported where they are used. Tests:
`tests/unit/test_predictor.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import backtest, formulas, model_versions
from oracle_lib.analyze.features import happened_between_expr, levels_state_expr
from oracle_lib.analyze.measures import Metrics
from oracle_lib.analyze.model_versions import Trained
from oracle_lib.analyze.predictor import Model, promoted
from oracle_lib.analyze.targets import AT_RISK_DAYS, FEATURES, TARGETS, Target
from oracle_lib.observe import moments
from oracle_lib.observe.moments import Moments
from oracle_lib.settings import Settings
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import run, scanning, scratch_table
from oracle_lib.storage.relations import scratch
from oracle_lib.storage.tables import models, user_days, users

if TYPE_CHECKING:
    from oracle_lib.analyze.candidates import Array, Rows

_MOMENTS = 10
_MOMENT_STEP = timedelta(days=7)
# More rows teach little and cost memory: beyond, users are drawn by the hash of their id.
_MOST_ROWS = 100_000


@dataclass(frozen=True)
class TrainReport:
    """One training: what came of it, and the figures it rests on (None where there was too little to measure)."""

    target: str
    as_of: date
    promoted: bool
    version: int | None
    kind: str | None
    rows: int
    positives: int
    metrics: Metrics | None
    note: str


def train(conn: Connection, as_of: date, *, settings: Settings) -> list[TrainReport]:
    """Let candidates compete for each target on what was known by `as_of`; promote who holds.

    A row of training is a user at the end of a past day; the label, whether it came true within the horizon after it.
    Training twice on the same data makes no second version.
    """
    lock(conn, models.name)
    return [_train(conn, target, as_of, settings) for target in TARGETS]


def _train(conn: Connection, target: Target, as_of: date, settings: Settings) -> TrainReport:
    horizon = target.horizon(settings)
    standing = promoted(conn).get(target.name)
    for days in _training_days(conn, as_of, horizon):
        rows, said = _training_rows(conn, target, days, horizon, standing)
        fitted = backtest.fit(rows, said)
        if fitted.candidate is not None:
            break
    version = None
    if fitted.candidate is not None:
        parameters = {**formulas.of(fitted.candidate), "horizon_days": horizon.days, "typical": _typical(rows)}
        trained = Trained(
            target=target.name,
            kind=fitted.candidate.kind,
            promoted=fitted.holds,
            parameters=parameters,
            features=formulas.features(parameters),
            trained_from=days[0],
            trained_to=days[-1] + horizon,
            metrics=fitted.as_json(),
            note=fitted.note,
        )
        version = model_versions.keep(conn, trained).version
    return TrainReport(
        target=target.name,
        as_of=as_of,
        promoted=fitted.holds,
        version=version,
        kind=fitted.candidate.kind if fitted.candidate else None,
        rows=len(rows),
        positives=rows.positives,
        metrics=fitted.metrics,
        note=fitted.note,
    )


def _training_days(conn: Connection, as_of: date, horizon: timedelta) -> list[list[date]]:
    """Return past days, oldest first, whose label is known by `as_of`, one a week: a choice, and one if that fails.

    Soon after the first day of data only the keenest have acted, and windows are cut short: those days look safer than
    they were, and are learned from only where the others show too little.
    """
    first = conn.scalar(sa.select(sa.func.min(user_days.c.day)).where(user_days.c.acted > 0))
    if first is None:
        return [[]]
    days = sorted(as_of - horizon - n * _MOMENT_STEP for n in range(_MOMENTS))
    starts = (timedelta(days=AT_RISK_DAYS), _MOMENT_STEP)
    return [[day for day in days if day >= first + start] for start in starts]


def _training_rows(
    conn: Connection, target: Target, days: Sequence[date], horizon: timedelta, standing: Model | None
) -> "tuple[Rows, Array | None]":
    """Return a row for each day and user of whom `target` is asked, and what the standing model says of it."""
    import numpy as np
    import pandas as pd

    from oracle_lib.analyze.candidates import Rows

    looked_back = moments.keep(conn, days)
    expression = training_expr(looked_back, target, horizon, only=sampled(conn, len(days)))
    with scanning(conn):
        scratch_table(conn, "training_rows", expression)
    said = "NULL::float8" if standing is None else formulas.probability_sql(standing.parameters)
    found = run(conn, f"SELECT *, {said} AS standing FROM training_rows ORDER BY as_of, user_id").all() if days else []
    table = pd.DataFrame([tuple(row) for row in found], columns=[*expression.columns, "standing"])
    numbers = table[[*FEATURES, "came_true", "standing"]].astype(float)
    rows = Rows(
        features=numbers[list(FEATURES)],
        recency=numbers["recency"].to_numpy(),
        user=pd.factorize(table["user_id"])[0],
        moment=np.array([day.toordinal() for day in table["as_of"]], dtype=float),
        outcome=numbers["came_true"].to_numpy(),
    )
    return rows, None if standing is None else numbers["standing"].to_numpy()


def sampled(conn: Connection, moments_: int, most_rows: int = _MOST_ROWS) -> ibis.Table | None:
    """Return the users (user_id) to learn from: None for all of them, or as many as `most_rows` allow."""
    most = most_rows // max(moments_, 1)
    people = int(conn.scalar(sa.select(sa.func.count()).select_from(users)) or 0)
    if people <= most:
        return None
    run(conn, "DROP TABLE IF EXISTS sampled_users")
    run(conn, "CREATE TEMPORARY TABLE sampled_users (user_id text) ON COMMIT DROP")
    chosen = sa.text("INSERT INTO sampled_users SELECT id FROM users ORDER BY md5(id) LIMIT :most")
    conn.execute(chosen, {"most": most})
    run(conn, "ANALYZE sampled_users")
    return scratch("sampled_users", {"user_id": "string"})


def training_expr(
    looked_back: Moments, target: Target, horizon: timedelta, *, only: ibis.Table | None = None
) -> ibis.Table:
    """Return training rows: nothing in a row but its label knows what came after its moment."""
    state = levels_state_expr(looked_back, only)
    asked = state.filter(target.asked_of(state))
    asked = asked.select("as_of", "user_id", **{name: asked[name].cast("float64") for name in FEATURES})
    happened = happened_between_expr(looked_back, horizon, target.happens)
    labelled = asked.left_join(happened, ["as_of", "user_id"])
    shown = labelled.user_id_right.notnull()
    return labelled.select("as_of", "user_id", *FEATURES, came_true=~shown if target.absent else shown)


def _typical(rows: "Rows") -> dict[str, float | None]:
    """Return the median of each feature over the rows to which it did not happen: what explanations compare with."""
    medians = rows.features[rows.outcome == 0].median()
    return {str(name): None if math.isnan(value) else float(value) for name, value in medians.items()}
