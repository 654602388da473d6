"""What will happen: how likely a user leaves, finishes, upgrades or refers, by the promoted models.

Models are trained, measured and promoted in `training.py` and kept as formulas (`formulas.py`), so that scoring is a
few statements. Without a promoted model nothing is said of a target, but for the churn risk: that is a continuous
recency score then. Buckets of days would cost 0.04 to 0.16 of AUC on real logs. Never for grading or admission.
Definitions: `targets.py`, `docs/metrics.md`.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import formulas, reasons
from oracle_lib.analyze.features import state_expr
from oracle_lib.analyze.formulas import Parameters
from oracle_lib.analyze.targets import CHURN, FEATURES, TARGETS
from oracle_lib.errors import Permanent
from oracle_lib.observe.moments import OneDay
from oracle_lib.settings import Settings
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import History, overwrite, publish, run, scanning, scratch_table
from oracle_lib.storage.relations import scratch
from oracle_lib.storage.tables import models, predictions, segment_changes, segments

# Without a model: the risk of someone silent for so many days is 1 - 1/e.
_FALLBACK_DAYS = 14.0
COLUMNS = {target.name: "churn_risk" if target is CHURN else f"{target.name}_prob" for target in TARGETS}
# Temporary tables of one scoring: what models ask, and what they say.
ASKED, SCORED = "asked", "scored"


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


def score(conn: Connection, as_of: date, *, settings: Settings, everyone: bool) -> ScoreReport:
    """Write what is predicted of every user (or of those who wait) as it stands on `as_of`, today so far.

    Publishes `predictions` for targets with a model, and the churn fields and probabilities of `segments` always.
    Idempotent. Queues the users it looked at for the rules. Needs `activity` and `segments` to stand for `as_of`.
    """
    lock(conn, predictions.name)
    work = queue.take_users(conn, "predictions")
    causes = queue.causes(conn, "predictions", as_of, otherwise="model")
    if everyone or queue.stands_for(conn, "predictions") != as_of:
        work = queue.EVERYONE
    standing = promoted(conn)
    state = so_far(state_expr(OneDay(as_of), work.users, current=True))
    with scanning(conn) if work == queue.EVERYONE else nullcontext():
        users = scratch_table(conn, ASKED, asked_expr(state), planned_by=["user_id"])
    scratch_table(conn, SCORED, scores_sql(standing))
    scratch_table(conn, reasons.TABLE, reasons.sql(standing[CHURN.name].parameters if CHURN.name in standing else None))
    if standing:
        publish(conn, predictions, predictions_expr(standing), key=("user_id", "target"), scope=work.scope)
    lock(conn, segments.name)
    history = History(segment_changes, ("churn_level",), as_of, causes)
    done = overwrite(conn, segments, told_expr(), key=("user_id",), history=history)
    queue.set_stands_for(conn, "predictions", as_of, work)
    _mark_analyzed(conn, work)
    queue.hand_on(conn, "rules", work)
    return ScoreReport(
        as_of=as_of,
        users=users,
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
            (models.c.digest == digest(models.c.parameters)).label("sound"),
        )
        .where(models.c.status == "promoted", models.c.target.in_([target.name for target in TARGETS]))
        .order_by(models.c.target)
    ).all()
    for row in rows:
        if not row.sound:
            raise Permanent(f"Version {row.version} of the {row.target} model is not what was measured.")
    return {row.target: Model(str(row.id), row.version, row.parameters) for row in rows}


def digest(parameters: sa.ColumnElement) -> sa.ColumnElement[str]:
    """Return the SHA-256 of parameters as PostgreSQL writes them, in hex."""
    text = sa.cast(parameters, sa.Text)
    return sa.func.encode(sa.func.sha256(sa.func.convert_to(text, "UTF8")), "hex")


def so_far(state: ibis.Table) -> ibis.Table:
    """Measure silence to the end of the newest closed day: hours of today that have not been cannot be silent.

    The model learned from closed days; counting today to its end overstated nine of ten calibration bins.
    """
    return state.mutate(recency=ibis.greatest(state.recency - 1.0, 0.0))


def asked_expr(state: ibis.Table) -> ibis.Table:
    """Return what models ask of rows of `features.state_expr`: features as doubles, and who is asked what."""
    return state.select(
        "user_id",
        **{name: state[name].cast("float64") for name in FEATURES},
        **{f"asks_{target.name}": target.asked_of(state) for target in TARGETS},
    )


def scores_sql(standing: Mapping[str, Model]) -> str:
    """Return the query of `scored` over `asked`: each target's probability, empty for whom it is not asked.

    The churn risk is said of everybody.
    """
    columns = []
    for target in TARGETS:
        model, name = standing.get(target.name), COLUMNS[target.name]
        if model is not None:
            said = f"round({formulas.probability_sql(model.parameters)} * 10000) / 10000"
            asked = said if target is CHURN else f"CASE WHEN asks_{target.name} THEN {said} END"
        else:
            asked = _RECENCY_SCORE if target is CHURN else "NULL::float8"
        columns.append(f"{asked} AS {name}")
    return f"SELECT user_id, asks_{CHURN.name}, {', '.join(columns)} FROM {ASKED}"


_RECENCY_SCORE = f"round((1 - exp(-greatest(recency, 0) / {_FALLBACK_DAYS}e0)) * 10000) / 10000"


def told_expr() -> ibis.Table:
    """Return what `segments` says of the future, from `scored` and `reasons`; no reason where the risk is low."""
    scored = scratch(SCORED, {"user_id": "string", **dict.fromkeys(COLUMNS.values(), "float64")})
    said = scored.left_join(scratch(reasons.TABLE, {"user_id": "string", "reason": "string"}), "user_id")
    risk = said.churn_risk
    level = ibis.cases((risk < 0.25, "low"), (risk < 0.5, "medium"), (risk < 0.75, "high"), else_="critical")
    # Of whoever no model is asked, silence is all that is judged.
    reason = ibis.cases((risk >= reasons.FROM_RISK, said.reason.fill_null("inactivity")), else_=ibis.null("string"))
    return said.select("user_id", *COLUMNS.values(), churn_level=level, churn_reason=reason)


def predictions_expr(standing: Mapping[str, Model]) -> ibis.Table:
    """Return the rows of `predictions` from `scored`."""
    scored = scratch(SCORED, {"user_id": "string", **dict.fromkeys(COLUMNS.values(), "float64")})
    parts = []
    for name, model in standing.items():
        part = scored.select(
            "user_id",
            target=ibis.literal(name),
            probability=scored[COLUMNS[name]],
            model_id=ibis.literal(model.id).cast("uuid"),
        )
        parts.append(part.filter(part.probability.notnull()))
    return ibis.union(*parts) if len(parts) > 1 else parts[0]


def _mark_analyzed(conn: Connection, work: queue.Work) -> None:
    """Note when users were looked at, changed or not; of everybody at once the queue's watermark does."""
    if work.table is not None:
        run(conn, f"UPDATE segments s SET last_analyzed = now() FROM {work.table} w WHERE w.user_id = s.user_id")


def _by_level(conn: Connection) -> dict[str, int]:
    level = segments.c.churn_level
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(sa.select(level, sa.func.count()).group_by(level))}
    return {name: found.get(name, 0) for name in ("low", "medium", "high", "critical")}
