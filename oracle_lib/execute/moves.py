"""How people's answers move actions: hold the rows, compare them with what was seen, then write all moves at once.

Rows are held in the order of their ids, so two callers with the same actions in any order wait and never block each
other for good. What may not move is left as it is, and its error says how it stands. Each move has its row of history
and of the audit log in the same transaction, and the words that it replaces are kept. Guarantee G5:
`tests/guarantees/test_g5_*.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Conflict, NotFound, OracleError
from oracle_lib.execute import records
from oracle_lib.execute.records import Action, wire_state
from oracle_lib.storage.tables import action_changes, action_versions, actions, audit_log


@dataclass(frozen=True)
class Seen:
    """What the person was looking at. A part that is None was not named, and is not compared."""

    version: int | None = None
    content_hash: str | None = None


UNSEEN = Seen()


@dataclass(frozen=True)
class Move:
    """What becomes of one action: its status, the columns that change with it, and what the history calls it.

    All moves that are written together change the same columns.
    """

    status: str
    verb: str
    changed: Mapping[str, object]
    reason: str | None = None


# Says what becomes of an action that is held, or raises `Conflict`.
Plan: TypeAlias = Callable[[Action], Move]
Result: TypeAlias = Action | OracleError


def make(conn: Connection, asked: Mapping[UUID, Seen], plan: Plan, *, actor: str, now: datetime) -> dict[UUID, Result]:
    """Move every action that may; return by id how it then stands, or why it did not move, in the order asked for."""
    held = records.hold(conn, list(asked))
    moves: dict[UUID, Move] = {}
    refused: dict[UUID, Result] = {}
    for action_id, seen in asked.items():
        try:
            moves[action_id] = plan(_as_seen(action_id, held.get(action_id), seen))
        except (NotFound, Conflict) as error:
            refused[action_id] = error
    if not moves:
        return refused
    _write(conn, moves, now)
    moved = records.of(conn, list(moves))
    _tell(conn, [(held[one], asked[one], move, moved[one]) for one, move in moves.items()], actor, now)
    return {action_id: refused.get(action_id) or moved[action_id] for action_id in asked}


def make_one(conn: Connection, action_id: UUID, seen: Seen, plan: Plan, *, actor: str, now: datetime) -> Action:
    """Move one action. Raises `NotFound`, and `Conflict` with its state."""
    result = make(conn, {action_id: seen}, plan, actor=actor, now=now)[action_id]
    if isinstance(result, OracleError):
        raise result
    return result


def must_be(standing: Action, legal: tuple[str, ...], wanted: str) -> None:
    """Raise `Conflict` unless the action is in one of the states from which it can become what is wanted."""
    if standing.status not in legal:
        raise too_late(standing, wanted)


def too_late(standing: Action, wanted: str) -> Conflict:
    """Return the error that says how an action stands that cannot be what is wanted."""
    return Conflict(
        f"The action is {standing.status} at version {standing.version} and cannot be {wanted}; look at it again.",
        current=wire_state(standing),
    )


def audit(conn: Connection, action: Action, verb: str, actor: str, now: datetime) -> None:
    """Keep an action's beginning in the audit log."""
    conn.execute(sa.insert(audit_log), [_audit_row(action, verb, actor, now)])


def _as_seen(action_id: UUID, standing: Action | None, seen: Seen) -> Action:
    if standing is None:
        raise NotFound(f"There is no action {action_id}.")
    if seen.version is not None and seen.version != standing.version:
        raise too_late(standing, f"answered as version {seen.version}")
    if seen.content_hash is not None and seen.content_hash != standing.content_hash:
        raise too_late(standing, "answered as it was seen: its words have changed")
    return standing


def _write(conn: Connection, moves: Mapping[UUID, Move], now: datetime) -> None:
    rows = [
        {**move.changed, "status": move.status, "updated_at": now, "moved": action_id}
        for action_id, move in moves.items()
    ]
    conn.execute(sa.update(actions).where(actions.c.id == sa.bindparam("moved", type_=sa.Uuid)), rows)


def _tell(conn: Connection, moves: Sequence[tuple[Action, Seen, Move, Action]], actor: str, now: datetime) -> None:
    replaced = [
        {
            "action_id": was.id,
            "version": was.version,
            "subject": was.subject,
            "content": was.content,
            "preheader": was.preheader,
            "content_hash": was.content_hash,
        }
        for was, _, _, now_is in moves
        if was.version != now_is.version
    ]
    if replaced:
        conn.execute(sa.insert(action_versions), replaced)
    history = [
        {
            "action_id": now_is.id,
            "at": now,
            "actor": actor,
            "verb": move.verb,
            "old_status": was.status,
            "new_status": move.status,
            "version": now_is.version,
            "shown_hash": was.content_hash if seen != UNSEEN else None,
            "reason": move.reason,
        }
        for was, seen, move, now_is in moves
    ]
    conn.execute(sa.insert(action_changes), history)
    conn.execute(sa.insert(audit_log), [_audit_row(now_is, move.verb, actor, now) for _, _, move, now_is in moves])


def _audit_row(action: Action, verb: str, actor: str, now: datetime) -> dict[str, object]:
    detail = {"version": action.version, "contentHash": action.content_hash}
    return {"at": now, "actor": actor, "verb": f"action.{verb}", "subject": f"action:{action.id}", "detail": detail}
