"""How fast many messages go out: so many an hour on a channel, and a large audience of a rule's version step by step.

A sender who writes to thousands from one moment to the next is taken for a spammer. What is over waits and says why:
`hourly_cap` or `slow_start`. Transactional messages count and never wait; alerts are not asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from oracle_lib.decide.guardrails import No
from oracle_lib.execute import claims
from oracle_lib.execute.claims import Claim
from oracle_lib.settings import Settings
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import actions

_HOUR = timedelta(hours=1)
_SHORTEST_WAIT = timedelta(minutes=1)
# By then a version may send a thousand times as many an hour as in its first.
_LAST_STEP = 10
_MARKETING = actions.c.message_class == "marketing"


@dataclass(frozen=True)
class Pacing:
    """`per_hour` is by action type; `first_hour` is what a rule's version sends in its first, None: all at once."""

    per_hour: Mapping[str, int]
    first_hour: int | None

    @classmethod
    def of(cls, settings: Settings) -> "Pacing":
        """Take the pace out of the settings."""
        return cls(dict[str, int](settings.hourly_caps.items()), settings.slow_start)


@dataclass
class _Gate:
    """Lets `room` more of the actions that `which` means through; the rest waits until a moment."""

    reason: str
    which: ColumnElement[bool]
    room: int
    until: datetime


def hold_back(conn: Connection, batch: Sequence[Claim], pacing: Pacing) -> dict[UUID, No]:
    """Return which of the claims go too early, and put off what is approved and would come after them.

    What passes must count as sent in this transaction (`claims.renew`): it holds a lock, so that executors cannot take
    the same room.
    """
    asked = [mine for mine in batch if mine.message_class == "marketing"]
    types = {mine.action_type for mine in asked} & set(pacing.per_hour)
    versions = {_version(mine) for mine in asked if mine.rule_id is not None and pacing.first_hour is not None}
    if not types and not versions:
        return {}
    lock(conn, "pacing")
    now = conn.scalars(sa.select(sa.func.now())).one()
    by_type = {kind: _hourly(conn, kind, pacing.per_hour[kind], now) for kind in sorted(types)}
    by_version = {one: gate for one in versions if (gate := _step(conn, one, pacing.first_hour or 0, now))}
    noes: dict[UUID, No] = {}
    shut: list[_Gate] = []
    for mine in asked:
        gates = [gate for gate in (by_type.get(mine.action_type), by_version.get(_version(mine))) if gate]
        if closed := next((gate for gate in gates if gate.room <= 0), None):
            noes[mine.id] = No(closed.reason, closed.until)
            shut += [closed] if closed not in shut else []
        else:
            for gate in gates:
                gate.room -= 1
    for gate in shut:
        claims.put_off(conn, gate.which, gate.reason, sa.literal(gate.until, sa.DateTime(timezone=True)))
    return noes


def _hourly(conn: Connection, action_type: str, most: int, now: datetime) -> _Gate:
    lately = sa.select(sa.func.count(), sa.func.min(actions.c.first_attempt_at)).where(
        actions.c.action_type == action_type, actions.c.first_attempt_at > now - _HOUR
    )
    sent, oldest = conn.execute(lately).one()
    until = max((oldest or now) + _HOUR, now + _SHORTEST_WAIT)
    return _Gate("hourly_cap", sa.and_(actions.c.action_type == action_type, _MARKETING), most - sent, until)


def _step(conn: Connection, version: tuple[UUID | None, int | None], first_hour: int, now: datetime) -> _Gate | None:
    """Return the gate of a version's hour: twice as much as in the hour before; None once it needs none."""
    mine = sa.and_(actions.c.rule_id == version[0], actions.c.rule_version == version[1])
    first = conn.scalar(sa.select(sa.func.min(actions.c.first_attempt_at)).where(mine)) or now
    step = (now - first) // _HOUR
    if step >= _LAST_STEP:
        return None
    began = first + step * _HOUR
    sent = conn.scalar(sa.select(sa.func.count()).where(mine, actions.c.first_attempt_at >= began)) or 0
    return _Gate("slow_start", sa.and_(mine, _MARKETING), first_hour * 2**step - sent, began + _HOUR)


def _version(mine: Claim) -> tuple[UUID | None, int | None]:
    return mine.rule_id, mine.rule_version
