"""Why something is predicted of one user: the factors that add most, in plain words."""

import math
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import formulas
from oracle_lib.analyze.features import state_expr
from oracle_lib.analyze.predictor import Model, asked_expr, promoted, so_far
from oracle_lib.analyze.reasons import FACTORS, Factor, contributions_sql
from oracle_lib.analyze.targets import FEATURES, TARGETS, Target
from oracle_lib.errors import NotFound
from oracle_lib.observe.moments import OneDay
from oracle_lib.storage import queue
from oracle_lib.storage.publish import compiled, run
from oracle_lib.storage.tables import users

# Less than a point is not worth a sentence.
_LEAST = 0.01


@dataclass(frozen=True)
class Contribution:
    """One factor: `points`, by which the probability (0-1) is higher than if it were typical, and a sentence."""

    factor: str
    points: float
    text: str


@dataclass(frozen=True)
class Explained:
    """What is predicted of one user, why, and by which model. Nothing is said where nothing is asked of the user.

    `contributions` with the weightiest first, whichever way it speaks; factors of less than a point are left out.
    """

    target: str
    model_id: UUID
    version: int
    probability: float
    contributions: tuple[Contribution, ...]


def explain(conn: Connection, user_id: str) -> list[Explained]:
    """Return what the promoted models say of a user as they stand now, and why. Raises `NotFound`."""
    if conn.scalar(sa.select(users.c.id).where(users.c.id == user_id)) is None:
        raise NotFound(f"There is no user {user_id}.")
    as_of, standing = queue.stands_for(conn, "predictions"), promoted(conn)
    if as_of is None:
        return []
    asked = _asked(user_id, as_of)
    found = [_explain(conn, asked, target, standing[target.name]) for target in TARGETS if target.name in standing]
    return [one for one in found if one is not None]


def _asked(user_id: str, as_of: date) -> str:
    state = state_expr(OneDay(as_of), current=True)
    return compiled(asked_expr(so_far(state.filter(state.user_id == user_id))))


def _explain(conn: Connection, asked: str, target: Target, model: Model) -> Explained | None:
    added = contributions_sql(model.parameters)
    columns = ", ".join(f"{sql} AS adds_{name}" for name, sql in added.items())
    query = (
        f"WITH asked AS MATERIALIZED ({asked})"
        f" SELECT {', '.join(FEATURES)}, {formulas.probability_sql(model.parameters)} AS said, {columns}"
        f" FROM asked WHERE asks_{target.name}"
    )
    row = run(conn, query).mappings().one_or_none()
    if row is None:
        return None
    said = float(row["said"])
    told = [
        Contribution(factor.name, points, _text(factor, {name: row[name] for name in factor.features}, model))
        for factor in FACTORS
        if abs(points := said - _less(said, row[f"adds_{factor.name}"])) >= _LEAST
    ]
    told.sort(key=lambda one: -abs(one.points))
    return Explained(target.name, UUID(model.id), model.version, said, tuple(told))


def _less(probability: float, logit: float) -> float:
    """Return the probability with so much taken off its logit."""
    kept = min(max(probability, 1e-9), 1 - 1e-9)
    return 1 / (1 + math.exp(logit - math.log(kept / (1 - kept))))


def _text(factor: Factor, facts: dict[str, float | None], model: Model) -> str:
    typical = {name: value or 0.0 for name, value in model.parameters["typical"].items()}
    here = factor.sentence.format(**{name: value or 0.0 for name, value in facts.items()})
    usual = factor.sentence.format(**typical)
    return f"{here}. Typical: {usual[0].lower()}{usual[1:]}."
