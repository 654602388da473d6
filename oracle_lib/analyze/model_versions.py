"""Keeps a fitted model as a version in `models`: promoted or held, with its figures, and what it learned from.

At most one version of a target stands as promoted. The same model again is the version it already is, and nothing is
written; only to promote what was held it is kept anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze.predictor import digest
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import models


@dataclass(frozen=True)
class Trained:
    """A fitted model: `parameters` are all it knows, `metrics` its figures, `note` why it is promoted or held."""

    target: str
    kind: str
    promoted: bool
    parameters: Mapping[str, Any]
    features: Sequence[str]
    trained_from: date
    trained_to: date
    metrics: Mapping[str, Any]
    note: str


@dataclass(frozen=True)
class Kept:
    """The version a model is kept as."""

    id: UUID
    version: int


def keep(conn: Connection, trained: Trained) -> Kept:
    """Keep a model. A promoted one takes the place of the one that stood; a held one leaves that alone."""
    lock(conn, models.name)
    status = "promoted" if trained.promoted else "held"
    newest = conn.execute(
        sa.select(models.c.id, models.c.version, models.c.status, models.c.parameters)
        .where(models.c.target == trained.target)
        .order_by(models.c.version.desc())
        .limit(1)
    ).one_or_none()
    same = newest is not None and newest.parameters == trained.parameters
    if newest is not None and same and (newest.status == "promoted" or not trained.promoted):
        return Kept(newest.id, newest.version)
    if trained.promoted:
        retire(conn, trained.target)
    version = 1 if newest is None else newest.version + 1
    values = {**vars(trained), "status": status, "version": version, "digest": ""}
    del values["promoted"]
    made: UUID = conn.execute(sa.insert(models).values(values).returning(models.c.id)).scalar_one()
    conn.execute(sa.update(models).where(models.c.id == made).values(digest=digest(models.c.parameters)))
    return Kept(made, version)


def retire(conn: Connection, target: str) -> None:
    """Let no version of a target stand as promoted."""
    stands = (models.c.target == target) & (models.c.status == "promoted")
    conn.execute(sa.update(models).where(stands).values(status="retired"))
