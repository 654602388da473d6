"""What will happen: how likely a user leaves, finishes, upgrades or refers, by models that are measured first.

Candidates compete on past weeks (`backtest.py`); the one that holds on the latest of them is promoted and kept as a
formula (`formulas.py`), so that scoring is one statement. Without a promoted model nothing is said of a target, but for
the churn risk: that is a continuous recency score then. Buckets of days would cost 0.04 to 0.16 of AUC on real logs.
Never for grading or admission. Definitions: `targets.py`, `docs/metrics.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import backtest, formulas
from oracle_lib.analyze.features import happened_between_expr, levels_state_expr, state_expr
from oracle_lib.analyze.formulas import Parameters
from oracle_lib.analyze.measures import Metrics
from oracle_lib.analyze.targets import CHURN, FEATURES, TARGETS, Target
from oracle_lib.errors import Permanent
from oracle_lib.observe import moments
from oracle_lib.observe.moments import Moments, OneDay
from oracle_lib.settings import Settings
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import (
    History,
    compiled,
    overwrite,
    publish,
    run,
    scanning,
    scratch_table,
)
from oracle_lib.storage.relations import scratch
from oracle_lib.storage.tables import models, predictions, segment_changes, segments, user_days, users

if TYPE_CHECKING:
    from oracle_lib.analyze.candidates import Array, Rows

# Without a model: the risk of someone silent for so many days is 1 - 1/e.
_FALLBACK_DAYS = 14.0
_MOMENTS = 10
_MOMENT_STEP = timedelta(days=7)
# More rows teach little and cost memory: beyond, users are drawn by the hash of their id.
_MOST_ROWS = 100_000
_COLUMNS = {target.name: f"{target.name}_prob" for target in TARGETS}


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


@dataclass(frozen=True)
class ScoreReport:
    """One scoring: users looked at, rows that changed, users by churn level, and the version used for each target."""

    as_of: date
    users: int
    written: int
    by_level: dict[str, int]
    versions: dict[str, int]


@dataclass(frozen=True)
class Model:
    """A promoted model."""

    id: str
    version: int
    parameters: Parameters


def train(conn: Connection, as_of: date, *, settings: Settings) -> list[TrainReport]:
    """Let candidates compete for each target on what was known by `as_of`; promote who holds.

    A row of training is a user at the end of a past day; the label, whether it came true within the horizon after it.
    Training twice on the same data makes no second version.
    """
    lock(conn, models.name)
    return [_train(conn, target, as_of, settings) for target in TARGETS]


def _train(conn: Connection, target: Target, as_of: date, settings: Settings) -> TrainReport:
    horizon = target.horizon(settings)
    days = _training_days(conn, as_of, horizon)
    standing = promoted(conn).get(target.name)
    rows, said = _training_rows(conn, target, days, horizon, standing)
    fitted = backtest.fit(rows, said)
    version = None if fitted.candidate is None else _store(conn, target, fitted, days, horizon)
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


def score(conn: Connection, as_of: date, *, settings: Settings, everyone: bool) -> ScoreReport:
    """Write what is predicted of every user (or of those who wait) as it stands on `as_of`, today so far.

    Publishes `predictions` for targets with a model, and the churn fields and probabilities of `segments` always.
    Idempotent. Queues the users it looked at for the rules. Needs `activity` and `segments` to stand for `as_of`.
    """
    lock(conn, predictions.name)
    work = queue.take_users(conn, "predictions")
    if everyone or queue.stands_for(conn, "predictions") != as_of:
        work = queue.EVERYONE
    standing = promoted(conn)
    state = _so_far(state_expr(OneDay(as_of), work.users, current=True))
    scored = _kept(conn, "scored", scores_expr(_kept(conn, "asked", asked_expr(state)), standing).drop("as_of"))
    if standing:
        said = _predictions_expr(scored, standing)
        publish(conn, predictions, said, key=("user_id", "target"), scope=work.scope)
    lock(conn, segments.name)
    history = History(segment_changes, ("churn_level",), as_of)
    done = overwrite(conn, segments, told_expr(scored), key=("user_id",), history=history)
    queue.set_stands_for(conn, "predictions", as_of)
    queue.hand_on(conn, "rules", work)
    return ScoreReport(
        as_of=as_of,
        users=done.seen,
        written=done.written,
        by_level=_by_level(conn),
        versions={name: model.version for name, model in standing.items()},
    )


def promoted(conn: Connection) -> dict[str, Model]:
    """Return the standing model of each target that has one.

    Raises `Permanent` for one whose parameters are not those that were measured.
    """
    rows = conn.execute(
        sa.select(
            models.c.id,
            models.c.target,
            models.c.version,
            models.c.parameters,
            (models.c.digest == _digest(models.c.parameters)).label("sound"),
        )
        .where(models.c.status == "promoted")
        .order_by(models.c.target)
    ).all()
    for row in rows:
        if not row.sound:
            raise Permanent(f"Version {row.version} of the {row.target} model is not what was measured.")
    return {row.target: Model(str(row.id), row.version, row.parameters) for row in rows}


def asked_expr(state: ibis.Table) -> ibis.Table:
    """Return what models ask of rows of `features.state_expr`: features as doubles, who is asked what, the reason."""
    return state.select(
        "as_of",
        "user_id",
        **{name: state[name].cast("float64") for name in FEATURES},
        **{_asks(target): target.asked_of(state) for target in TARGETS},
        reason=_reason(state),
    )


def scores_expr(asked: ibis.Table, standing: Mapping[str, Model]) -> ibis.Table:
    """Return each target's probability, and what most speaks for leaving, for rows of `asked_expr`."""
    churn = standing.get(CHURN.name)
    risk = _recency_score(asked) if churn is None else formulas.probability_expr(asked, churn.parameters)
    others = {
        _COLUMNS[target.name]: _said(asked, target, standing.get(target.name))
        for target in TARGETS
        if not target.absent
    }
    return asked.select("as_of", "user_id", "reason", churn_risk=_rounded(risk), **others)


def told_expr(scored: ibis.Table) -> ibis.Table:
    """Return what `segments` says of the future, for rows of `scores_expr`; no reason where the risk is low."""
    risk = scored.churn_risk
    level = ibis.cases((risk < 0.25, "low"), (risk < 0.5, "medium"), (risk < 0.75, "high"), else_="critical")
    reason = ibis.cases((risk >= 0.25, scored.reason), else_=ibis.null("string"))
    return scored.mutate(churn_level=level, churn_reason=reason).drop("reason")


def _recency_score(state: ibis.Table) -> ibis.Value:
    return 1.0 - (-ibis.greatest(state.recency, 0.0) / _FALLBACK_DAYS).exp()


def _said(asked: ibis.Table, target: Target, model: Model | None) -> ibis.Value:
    """Return a probability for those of whom it is asked; nothing for the others, and without a model."""
    if model is None:
        return ibis.null("float64")
    said = _rounded(formulas.probability_expr(asked, model.parameters))
    return ibis.cases((asked[_asks(target)], said), else_=ibis.null("float64"))


def _asks(target: Target) -> str:
    return f"asks_{target.name}"


def _kept(conn: Connection, name: str, rows: ibis.Table) -> ibis.Table:
    """Keep rows in a temporary table, so that what follows reads columns instead of working them out again."""
    scratch_table(conn, name, rows)
    return scratch(name, {column: str(kind) for column, kind in rows.schema().items()})


def _rounded(probability: ibis.Value) -> ibis.Value:
    return (probability * 10000).round().cast("float64") / 10000


def _so_far(state: ibis.Table) -> ibis.Table:
    """Measure silence to the end of the newest closed day: hours of today that have not been cannot be silent.

    The model learned from closed days; counting today to its end overstated nine of ten calibration bins.
    """
    return state.mutate(recency=ibis.greatest(state.recency - 1.0, 0.0))


def _reason(state: ibis.Table) -> ibis.Value:
    """Return in a word what most speaks for leaving."""
    return ibis.cases(
        ((state.refunds > 0) & (state.days_silent <= 30), "refund"),
        ((state.lesson_complete_total == 0) & (state.days_joined >= 7), "no_progress"),
        (state.quiz_fail_30d > 2 * state.quiz_pass_30d, "quiz_failures"),
        ((state.lesson_complete_7d == 0) & (state.acted_7d > 0), "stuck"),
        ((state.email_sent_90d >= 3) & (state.email_open_90d + state.email_click_90d == 0), "unresponsive"),
        else_="inactivity",
    )


def _predictions_expr(scored: ibis.Table, standing: Mapping[str, Model]) -> ibis.Table:
    """Return the rows of `predictions` for rows of `scores_expr`."""
    parts = []
    for name, model in standing.items():
        said = scored.churn_risk if name == CHURN.name else scored[_COLUMNS[name]]
        part = scored.select(
            "user_id",
            target=ibis.literal(name),
            probability=said,
            model_id=ibis.literal(model.id).cast("uuid"),
        )
        parts.append(part.filter(part.probability.notnull()))
    return ibis.union(*parts) if len(parts) > 1 else parts[0]


def _training_days(conn: Connection, as_of: date, horizon: timedelta) -> list[date]:
    """Return past days, oldest first, whose label is known by `as_of`: one a week, as far back as there is data."""
    first = conn.scalar(sa.select(sa.func.min(user_days.c.day)).where(user_days.c.acted > 0))
    if first is None:
        return []
    days = [as_of - horizon - n * _MOMENT_STEP for n in range(_MOMENTS)]
    return sorted(day for day in days if day >= first + _MOMENT_STEP)


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
        kept = _kept(conn, "training_rows", expression)
    said = ibis.null("float64") if standing is None else formulas.probability_expr(kept, standing.parameters)
    asked = kept.mutate(standing=said)
    found = run(conn, compiled(asked)).all() if days else []
    table = pd.DataFrame([tuple(row) for row in found], columns=list(asked.columns))
    table = table.sort_values(["as_of", "user_id"], ignore_index=True)
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


def _store(
    conn: Connection, target: Target, fitted: backtest.Fitted, days: Sequence[date], horizon: timedelta
) -> int | None:
    """Keep a fitted model as a new version, promoted or held; the same fit again is the version it already is."""
    if fitted.candidate is None:
        return None
    parameters = {**formulas.of(fitted.candidate), "horizon_days": horizon.days}
    newest = conn.execute(
        sa.select(models.c.version, models.c.parameters)
        .where(models.c.target == target.name)
        .order_by(models.c.version.desc())
        .limit(1)
    ).one_or_none()
    if newest is not None and newest.parameters == parameters:
        return int(newest.version)
    version = 1 if newest is None else newest.version + 1
    if fitted.holds:
        stands = (models.c.target == target.name) & (models.c.status == "promoted")
        conn.execute(sa.update(models).where(stands).values(status="retired"))
    made = conn.execute(
        sa.insert(models)
        .values(
            target=target.name,
            version=version,
            kind=fitted.candidate.kind,
            status="promoted" if fitted.holds else "held",
            parameters=parameters,
            digest="",
            features=formulas.features(parameters),
            trained_from=days[0],
            trained_to=days[-1] + horizon,
            metrics=fitted.as_json(),
            note=fitted.note,
        )
        .returning(models.c.id)
    ).scalar_one()
    conn.execute(sa.update(models).where(models.c.id == made).values(digest=_digest(models.c.parameters)))
    return version


def _digest(parameters: sa.ColumnElement) -> sa.ColumnElement[str]:
    """Return the SHA-256 of parameters as PostgreSQL writes them, in hex."""
    text = sa.cast(parameters, sa.Text)
    return sa.func.encode(sa.func.sha256(sa.func.convert_to(text, "UTF8")), "hex")


def _by_level(conn: Connection) -> dict[str, int]:
    level = segments.c.churn_level
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(sa.select(level, sa.func.count()).group_by(level))}
    return {name: found.get(name, 0) for name in ("low", "medium", "high", "critical")}
