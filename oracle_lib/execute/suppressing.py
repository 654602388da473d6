"""Whom nothing, or no marketing, is sent to any more on a channel, and the end of what waits for them there.

Somebody unsubscribed, paused or refused a topic (`unsubscribe.py`), or their mail bounced for good, or they complained
(webhooks). A stronger reason takes the place of a weaker one, never the other way round.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.execute.history import record
from oracle_lib.storage.tables import audit_log

# Where what waits may go: nobody has seen a pending action's words yet, an approved one is taken back.
_ENDS = {"pending": "rejected", "approved": "cancelled"}


@dataclass(frozen=True)
class Suppression:
    """A user gets nothing on a channel from `at` on, until `until` or for good.

    `action_id` is the message that brought it about; None: none did. `reason` is unsubscribed or paused, which stop
    marketing, or bounced or complained, which stop everything; or topic_refused, which only ends what waits: it stops
    marketing about `topic`.
    """

    user_id: str
    channel: str
    action_id: UUID | None
    reason: str
    at: datetime
    until: datetime | None = None
    topic: str | None = None


_HOLD = sa.text("""
    SELECT pg_advisory_xact_lock(hashtextextended('oracle:user:' || user_id, 0))
    FROM (SELECT unnest(CAST(:users AS text[])) AS user_id ORDER BY 1) AS sorted
""")

_SUPPRESS = sa.text("""
    INSERT INTO suppressions (user_id, channel, reason, at, until)
    SELECT user_id, channel, reason, at, until FROM jsonb_to_recordset(CAST(:asked AS jsonb))
        AS asked(user_id text, channel text, reason text, at timestamptz, until timestamptz)
    ON CONFLICT (user_id, channel) DO UPDATE SET reason = excluded.reason, at = excluded.at, until = excluded.until
        WHERE suppressions.until < COALESCE(excluded.until, 'infinity')
            OR suppressions.reason = 'unsubscribed' AND excluded.reason NOT IN ('unsubscribed', 'paused')
    RETURNING user_id, channel
""")

# What went to a provider before is left to the executor, who says `unknown` of it: it may have arrived.
_END = sa.text("""
    UPDATE actions a SET status = :new, reason = waiting.reason, updated_at = :now
    FROM (
        SELECT w.id, asked.reason
        FROM actions w
        JOIN jsonb_to_recordset(CAST(:asked AS jsonb))
            AS asked(user_id text, channel text, reason text, until timestamptz, topic text)
            ON w.user_id = asked.user_id AND w.action_type = asked.channel
        WHERE w.status = :old AND w.attempts = 0
            AND (w.message_class = 'marketing' OR asked.reason NOT IN ('unsubscribed', 'paused', 'topic_refused'))
            AND (asked.topic IS NULL OR w.topic = asked.topic)
            AND (asked.until IS NULL OR COALESCE(w.scheduled_at, :now) < asked.until)
        ORDER BY w.id
        FOR UPDATE OF w
    ) waiting
    WHERE a.id = waiting.id AND a.status = :old
    RETURNING a.id, a.reason
""")


def hold(conn: Connection, users: Collection[str]) -> None:
    """Wait for executors that are asking the guardrails about these users, until the transaction ends."""
    conn.execute(_HOLD, {"users": sorted(set(users))})


def suppress(conn: Connection, asked: Sequence[Suppression], *, actor: str, now: datetime) -> int:
    """Write the rows that say more than those that stand, at most one a user and channel; return how many."""
    changed = {(row.user_id, row.channel) for row in conn.execute(_SUPPRESS, {"asked": _json(asked)})}
    rows = [
        {
            "at": now,
            "actor": actor,
            "verb": f"user.{one.reason}",
            "subject": f"user:{one.user_id}",
            "detail": {
                "channel": one.channel,
                "action": None if one.action_id is None else str(one.action_id),
                "until": None if one.until is None else one.until.isoformat(),
            },
        }
        for one in asked
        if (one.user_id, one.channel) in changed
    ]
    if rows:
        conn.execute(sa.insert(audit_log), rows)
    return len(rows)


def end_what_waits(conn: Connection, asked: Sequence[Suppression], *, actor: str, now: datetime) -> None:
    """End the actions that wait for the users on their channels and would go out while this holds."""
    for old, new in _ENDS.items():
        ended = conn.execute(_END, {"asked": _json(asked), "old": old, "new": new, "now": now}).all()
        for reason, rows in groupby(sorted(ended, key=lambda row: row.reason), key=lambda row: row.reason):
            ids = [row.id for row in rows]
            record(conn, ids, new, actor=actor, old=old, new=new, reason=reason, at=now)


def _json(asked: Sequence[Suppression]) -> str:
    return msgspec.json.encode([asdict(one) for one in asked]).decode()
