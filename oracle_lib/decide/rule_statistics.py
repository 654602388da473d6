"""What came of a rule, over all its versions: its proposals by how they stand, and how often a guardrail said no."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import rule_records
from oracle_lib.storage.tables import actions, skips


@dataclass(frozen=True)
class Statistics:
    """`proposed` actions, in all and `by_status`; `skipped` counts the causes held back, by reason.

    A cause that was held back and then answered after all counts in both.
    """

    proposed: int
    by_status: Mapping[str, int]
    skipped: Mapping[str, int]
    last_triggered: datetime | None


def of(conn: Connection, rule_id: UUID) -> Statistics:
    """Count what came of one rule, a deleted one too. Raises `NotFound`."""
    record = rule_records.get(conn, rule_id)
    by_status = _counted(conn, actions.c.status, actions.c.rule_id == rule_id)
    skipped = _counted(conn, skips.c.reason, skips.c.rule_id == rule_id)
    return Statistics(sum(by_status.values()), by_status, skipped, record.last_triggered)


def _counted(conn: Connection, word: sa.Column, about: sa.ColumnElement[bool]) -> dict[str, int]:
    query = sa.select(word, sa.func.count()).where(about).group_by(word).order_by(word)
    return dict(conn.execute(query).all())
