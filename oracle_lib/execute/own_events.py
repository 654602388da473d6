"""What ORACLE did or heard of its own messages, put among the user's events: `email_sent`, `email_open`, `dm_sent`, ...

Source `oracle`, with the action's id, its template and its subject. Each kind once an action: the message id says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import actions


@dataclass(frozen=True)
class Happened:
    """An event of an action and when it was."""

    action_id: UUID
    event: str
    at: datetime


def add(conn: Connection, happened: Sequence[Happened], *, settings: Settings, now: datetime) -> int:
    """Store each event once; return how many were new. What cannot be stored, for its age, is left out."""
    if not happened:
        return 0
    columns = (actions.c.id, actions.c.user_id, actions.c.action_type, actions.c.template, actions.c.subject)
    named = sa.select(*columns).where(actions.c.id.in_([one.action_id for one in happened]))
    about = {row.id: row for row in conn.execute(named)}
    door = Door(source="oracle", limits=Limits(currency=settings.currency, internal=True), keeps_refused=False)
    return ingest(conn, [_body(one, about[one.action_id]) for one in happened], door=door, received_at=now).accepted


def _body(happened: Happened, action: sa.Row) -> bytes:
    facts = {"actionId": str(action.id), "template": action.template, "subject": action.subject}
    if action.action_type == "email":
        facts["emailId"] = str(action.id)
    return msgspec.json.encode(
        {
            "userId": action.user_id,
            "event": happened.event,
            "source": "oracle",
            "timestamp": happened.at.isoformat(),
            "messageId": f"oracle/action/{action.id}/{happened.event.removeprefix(f'{action.action_type}_')}",
            "metadata": {name: value for name, value in facts.items() if value is not None},
        }
    )
