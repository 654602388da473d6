"""Who a rule would have held out on past days: the draw of the experiment that ran then."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide.definition import HOLDOUT, Definition
from oracle_lib.decide.experiments import ArmShare, arm_of, arms
from oracle_lib.storage.tables import experiments


@dataclass(frozen=True)
class Drawn:
    """An experiment, from when until when it drew (None: it still does), and its arms."""

    id: UUID
    since: datetime
    until: datetime | None
    arms: Sequence[ArmShare]


def of_rule(conn: Connection, rule_id: UUID, draft: Definition | None) -> list[Drawn]:
    """Return the experiments a rule has had, in their order.

    A draft draws as they did, by shares of its own: which experiment it would begin, nobody knows before.
    """
    e = experiments.c
    found = conn.execute(
        sa.select(e.id, e.started_at, e.ended_at, e.arms).where(e.rule_id == rule_id).order_by(e.started_at)
    )
    own = arms(draft) if draft else None
    return [Drawn(one.id, one.started_at, one.ended_at, own or [ArmShare(**arm) for arm in one.arms]) for one in found]


def running(drawn: Sequence[Drawn], now: datetime) -> list[Drawn]:
    """Return the experiments that drew at a moment; the first counts before it too."""
    found = [one for one in drawn if one.since <= now and (one.until is None or now < one.until)]
    return found or [one for one in drawn[:1] if now < one.since]


def held_out(conn: Connection, drawn: Sequence[Drawn], users: sa.TableClause) -> dict[UUID, frozenset[str]]:
    """Return whom of `users` (user_id) each experiment gives nothing."""
    user_id = users.c.user_id
    return {
        one.id: frozenset(conn.scalars(sa.select(user_id).where(arm_of(one.id, user_id, one.arms) == HOLDOUT)))
        for one in drawn
    }
