"""What people answer to actions, one or many at once, in the words of the wire."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection

from oracle_lib.execute import approvals
from oracle_lib.execute.moves import Plan

Word = Literal["approved", "rejected", "executed", "cancelled", "pending"]


@dataclass(frozen=True)
class Answer:
    """The status wished for: `executed` is done by hand, `pending` takes an approval back.

    `undo` is how long an approval waits in case it is taken back.
    """

    status: Word
    reason: str | None = None
    undo: timedelta = timedelta(0)


def plan(conn: Connection, answer: Answer, ids: Collection[UUID], *, actor: str, now: datetime) -> Plan:
    """Return what the answer makes of each of these actions. Raises `Invalid` for a reason that is none."""
    match answer.status:
        case "approved":
            return approvals.approval(conn, ids, actor, now, answer.undo)
        case "rejected":
            return approvals.rejection(answer.reason)
        case "cancelled":
            return approvals.cancellation(answer.reason)
        case "pending":
            return approvals.undoing
        case "executed":
            return approvals.doing_by_hand(answer.reason or "Done by hand.", now)
