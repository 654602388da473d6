"""What was found when what was worked out was looked at: kept, so that whoever proposes knows what to leave alone.

Two kinds: the gate (`soundness.py`), which stands before every proposal, and the health of the models
(`model_health.py`), which holds only the rules that ask for what a model says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.storage.tables import checks


@dataclass(frozen=True)
class Finding:
    """One question asked of the data: its name in snake_case, the answer, a sentence, and the model it is about."""

    name: str
    passed: bool
    detail: str
    target: str | None = None


def record(conn: Connection, found: Sequence[Finding], as_of: date, now: datetime) -> None:
    """Keep the answers; rules that a model had held are asked again, of everybody, when it is trusted again."""
    held_before = held_targets(conn)
    stored = insert(checks).values(
        [
            {"name": one.name, "target": one.target, "passed": one.passed, "detail": one.detail}
            | {"as_of": as_of, "checked_at": now}
            for one in found
        ]
    )
    newer = {name: stored.excluded[name] for name in ("target", "passed", "detail", "as_of", "checked_at")}
    conn.execute(stored.on_conflict_do_update(index_elements=["name"], set_=newer))
    if held_before - held_targets(conn):
        # Not at import: who only asks what is held does without the library that composes statements.
        from oracle_lib.storage import queue

        queue.add_everyone(conn, "rules")


def held_targets(conn: Connection) -> frozenset[str]:
    """Return the targets whose model is not to be acted on."""
    failed = sa.select(checks.c.target).where(checks.c.target.is_not(None), ~checks.c.passed)
    return frozenset(conn.execute(failed).scalars())


def gate_is_open(conn: Connection, as_of: date | None = None) -> bool | None:
    """Say whether the gate last let proposals through; None where it was not asked (for `as_of`)."""
    asked = sa.select(sa.func.bool_and(checks.c.passed)).where(checks.c.target.is_(None))
    return conn.scalar(asked if as_of is None else asked.where(checks.c.as_of == as_of))
