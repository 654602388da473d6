"""What the readers of our own tracked letters did, kept beside what providers tell and worked in like it.

However often a picture or a link is asked for, an action keeps three rows of each kind at most: by a program that calls
itself one, by anybody within the seconds in which no person opens a letter, and by anybody after them. So a scanner
that comes first does not hide the person, and nobody fills the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.execute.tracked_letters import CHANNEL, Trace
from oracle_lib.learn.webhooks import reading
from oracle_lib.learn.webhooks.processing import MACHINE_SECONDS


@dataclass(frozen=True)
class Sighting:
    """A letter was opened, or a link in it followed, by a program that calls itself `user_agent`."""

    action_id: UUID
    kind: Literal["opened", "clicked"]
    user_agent: str
    at: datetime


# In one order, so that two processes with the same ones never wait for each other.
_KEEP = sa.text("""
    INSERT INTO webhook_inbox (provider, event_id, raw, received_at, due_at)
    SELECT :channel, named.event_id, seen.raw, seen.at, seen.at
    FROM unnest(CAST(:action_ids AS uuid[]), CAST(:kinds AS text[]), CAST(:machines AS boolean[]),
        CAST(:bodies AS bytea[]), CAST(:moments AS timestamptz[])) AS seen(action_id, kind, machine, raw, at)
    JOIN actions a ON a.id = seen.action_id AND a.channel = :channel
    CROSS JOIN LATERAL (
        SELECT concat_ws('/', a.id, seen.kind, CASE
            WHEN seen.machine THEN 'machine'
            WHEN seen.at >= a.executed_at + make_interval(secs => :machine_seconds) THEN 'later'
            ELSE 'early'
        END) AS event_id
    ) named
    ORDER BY named.event_id, seen.at
    ON CONFLICT (provider, event_id) DO NOTHING
""")


def keep(conn: Connection, seen: Sequence[Sighting]) -> int:
    """Keep what is new of these; return how many. Those of an action that is gone are left out."""
    traces = [Trace(one.kind, one.action_id, one.user_agent[: reading.LONGEST]) for one in seen]
    told = {
        "channel": CHANNEL,
        "machine_seconds": MACHINE_SECONDS,
        "action_ids": [one.action_id for one in seen],
        "kinds": [one.kind for one in seen],
        "machines": [reading.is_machine(trace.user_agent) for trace in traces],
        "bodies": [msgspec.json.encode(trace) for trace in traces],
        "moments": [one.at for one in seen],
    }
    return conn.execute(_KEEP, told).rowcount
