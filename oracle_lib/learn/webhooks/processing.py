"""What providers told is worked in: whom to write to no more, what became of messages in doubt, who opened or clicked.

Set by set, in one transaction each, one at a time over all processes. An event waits and is looked at again while its
action is still in an executor's hand, and for up to 15 minutes for what must have come before it: the action it names,
and of an open or click the delivery. So the order in which events are told changes nothing.

- An `unknown` action is `executed` once its provider tells that it had it, `failed` if it says that it never sent it.
  No other state is changed.
- A hard bounce, a complaint or an unsubscription stops the channel for the user and ends what waits there.
- Bounces, complaints, unsubscriptions, drops, and what machines opened and clicked are outcomes at once; what a person
  opened, clicked and answered becomes an event of our own, which `learn/outcomes.py` counts like any other that names
  the action. What a program answered tells that the letter arrived, and nothing else.

Guarantee G7: `tests/guarantees/test_g7_outcomes_are_counted_once.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.execute import own_events, suppressing, tracked_letters
from oracle_lib.execute.history import record
from oracle_lib.execute.own_events import Happened
from oracle_lib.execute.suppressing import Suppression
from oracle_lib.learn.webhooks import reading, replies
from oracle_lib.observe import identities
from oracle_lib.settings import Settings
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import webhook_inbox

PATIENCE = timedelta(minutes=15)
# No person opens a letter so soon after it was delivered.
MACHINE_SECONDS = 2


@dataclass(frozen=True)
class WebhooksReport:
    """Events looked at, worked in (`unknown_types` of them say nothing we know) or waiting, and what they changed."""

    worked_in: int = 0
    waiting: int = 0
    unknown_types: int = 0
    settled: int = 0
    suppressed: int = 0
    own_events: int = 0

    @property
    def looked_at(self) -> int:
        """All of them."""
        return self.worked_in + self.waiting

    def __add__(self, other: "WebhooksReport") -> "WebhooksReport":
        """Return the report of both."""
        return WebhooksReport(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


# A provider's clock is not asked for more than the 30 days before the event came.
_READ = sa.text("""
    UPDATE webhook_inbox i
    SET kind = said.kind, at = GREATEST(LEAST(said.at, i.received_at), i.received_at - interval '30 days'),
        user_agent = said.user_agent, machine = said.machine,
        provider_id = said.provider_id, action_id = COALESCE(named.id, known.id)
    FROM jsonb_to_recordset(CAST(:said AS jsonb)) AS said(id bigint, provider text, kind text, at timestamptz,
        action_id uuid, provider_id text, user_agent text, machine boolean)
    LEFT JOIN actions named ON named.id = said.action_id
        AND (named.channel = said.provider OR said.kind = 'replied')
    LEFT JOIN actions known ON known.provider_id = said.provider_id AND known.channel = said.provider
    WHERE i.id = said.id
""")

_SET_DELAYS = sa.text("""
    UPDATE webhook_inbox i
    SET delay_seconds = EXTRACT(epoch FROM i.at - delivered.at),
        machine = i.machine OR i.at < delivered.at + make_interval(secs => :machine_seconds)
    FROM (
        SELECT action_id, min(at) AS at FROM webhook_inbox
        WHERE kind = 'delivered' AND action_id IN (SELECT action_id FROM webhook_inbox WHERE id = ANY(:ids))
        GROUP BY action_id
    ) delivered
    WHERE i.id = ANY(:ids) AND i.kind IN ('opened', 'clicked') AND i.action_id = delivered.action_id
""")

# The longer it has waited, the longer until the next look.
_WAIT = sa.text("""
    UPDATE webhook_inbox i
    SET due_at = :now + LEAST(GREATEST(:now - i.received_at, interval '15 seconds'), interval '1 hour')
    WHERE i.id = ANY(:ids) AND i.kind IS NOT NULL AND (
        EXISTS (SELECT FROM actions a WHERE a.id = i.action_id AND a.status IN ('approved', 'executing'))
        OR i.received_at > :now - CAST(:patience AS interval) AND (
            i.action_id IS NULL
            OR i.kind IN ('opened', 'clicked') AND NOT i.machine AND i.delay_seconds IS NULL
        )
    )
    RETURNING i.id
""")

_SETTLE = sa.text("""
    WITH told AS (
        SELECT action_id, provider, min(at) FILTER (WHERE kind <> 'dropped') AS sent_at, min(provider_id) AS provider_id
        FROM webhook_inbox WHERE id = ANY(:ids) AND kind IS NOT NULL AND action_id IS NOT NULL
        GROUP BY action_id, provider
    )
    UPDATE actions a
    SET status = CASE WHEN told.sent_at IS NULL THEN 'failed' ELSE 'executed' END,
        reason = CASE WHEN told.sent_at IS NULL THEN 'dropped' END,
        executed_at = told.sent_at,
        sent_hash = CASE WHEN told.sent_at IS NOT NULL THEN a.approved_hash END,
        provider_id = COALESCE(a.provider_id, told.provider_id),
        updated_at = :now
    FROM told WHERE a.id = told.action_id AND a.status = 'unknown'
    RETURNING a.id, a.status, a.reason, a.executed_at, a.action_type, told.provider
""")

_OUTCOMES = sa.text("""
    INSERT INTO outcomes (action_id, kind, at, user_id, recorded_at)
    SELECT DISTINCT ON (a.id, came.kind) a.id, came.kind, i.at, a.user_id, :now
    FROM webhook_inbox i
    JOIN actions a ON a.id = i.action_id
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN i.kind IN ('bounced', 'blocked') THEN 'bounced'
            WHEN i.kind IN ('complained', 'unsubscribed', 'dropped') THEN i.kind
            WHEN i.kind IN ('opened', 'clicked') AND i.machine THEN 'machine_' || i.kind
        END AS kind
    ) came
    WHERE i.id = ANY(:ids) AND came.kind IS NOT NULL
    ORDER BY a.id, came.kind, i.at
    ON CONFLICT (action_id, kind) DO UPDATE SET at = excluded.at WHERE excluded.at < outcomes.at
""")

# Once an action: what the product told of the same open before does not come in again.
_BY_PEOPLE = sa.text("""
    SELECT i.action_id, i.kind, min(i.at) AS at FROM webhook_inbox i
    WHERE i.id = ANY(:ids) AND i.action_id IS NOT NULL AND i.kind IN ('opened', 'clicked', 'replied')
        AND NOT i.machine AND NOT EXISTS (SELECT FROM outcomes o WHERE o.action_id = i.action_id AND o.kind = i.kind)
    GROUP BY i.action_id, i.kind ORDER BY i.action_id, i.kind
""")

# The strongest reason of each user and channel, the first time it was told.
_LEAVERS = sa.text("""
    SELECT DISTINCT ON (a.user_id, a.action_type) a.id, a.user_id, a.action_type, i.kind, i.at, i.provider
    FROM webhook_inbox i JOIN actions a ON a.id = i.action_id
    WHERE i.id = ANY(:ids) AND i.kind IN ('bounced', 'complained', 'unsubscribed')
    ORDER BY a.user_id, a.action_type, i.kind = 'unsubscribed', i.at
""")

_DONE = sa.text("UPDATE webhook_inbox SET processed_at = :now WHERE id = ANY(:ids)")

_EVENTS = {"opened": "email_open", "clicked": "email_click", "replied": "email_reply"}


def process(conn: Connection, now: datetime, *, settings: Settings, limit: int) -> WebhooksReport:
    """Work in up to `limit` events that are due, the oldest first. Idempotent: what is worked in is not looked at."""
    lock(conn, "webhooks")
    due = (
        sa.select(webhook_inbox.c.id, webhook_inbox.c.provider, webhook_inbox.c.raw, webhook_inbox.c.received_at)
        .where(webhook_inbox.c.processed_at.is_(None), webhook_inbox.c.due_at <= now)
        .where(webhook_inbox.c.provider != replies.RECEIVED)
        .order_by(webhook_inbox.c.due_at, webhook_inbox.c.id)
        .limit(limit)
    )
    rows = conn.execute(due).all()
    if not rows:
        return WebhooksReport()
    identities.lock(conn, [])
    unknown_types = _read(conn, rows)
    taken = {"ids": [row.id for row in rows]}
    conn.execute(_SET_DELAYS, {**taken, "machine_seconds": MACHINE_SECONDS})
    waiting = set(conn.execute(_WAIT, {**taken, "now": now, "patience": PATIENCE}).scalars())
    ready = {"ids": [row.id for row in rows if row.id not in waiting]}
    suppressed = _suppress(conn, ready, now)
    settled = _settle(conn, ready, now, settings)
    conn.execute(_OUTCOMES, {**ready, "now": now})
    happened = [Happened(row.action_id, _EVENTS[row.kind], row.at) for row in conn.execute(_BY_PEOPLE, ready)]
    conn.execute(_DONE, {**ready, "now": now})
    return WebhooksReport(
        worked_in=len(ready["ids"]),
        waiting=len(waiting),
        unknown_types=unknown_types,
        settled=settled,
        suppressed=suppressed,
        own_events=own_events.add(conn, happened, settings=settings, now=now),
    )


def _read(conn: Connection, rows: Sequence[sa.Row]) -> int:
    """Write what the events say beside them; return how many say nothing that we know."""
    said = [(row, reading.read(row.provider, bytes(row.raw))) for row in rows]
    told = [
        {
            "id": row.id,
            "provider": row.provider,
            "kind": one.kind,
            "at": one.at or row.received_at,
            "action_id": one.action_id,
            "provider_id": one.provider_id,
            "user_agent": one.user_agent,
            "machine": one.machine,
        }
        for row, one in said
    ]
    conn.execute(_READ, {"said": msgspec.json.encode(told).decode()})
    return sum(one.kind is None for _, one in said)


def _suppress(conn: Connection, ready: dict[str, list[int]], now: datetime) -> int:
    """Write to nobody again who bounced, complained or unsubscribed; return how many users that is new of."""
    leavers = conn.execute(_LEAVERS, ready).all()
    if not leavers:
        return 0
    ids = [row.user_id for row in leavers]
    users = identities.resolve(conn, ids)
    suppressing.hold(conn, [users.get(one, one) for one in ids])
    new = 0
    for provider, told in groupby(sorted(leavers, key=lambda row: row.provider), key=lambda row: row.provider):
        asked = {
            (users.get(row.user_id, row.user_id), row.action_type): Suppression(
                users.get(row.user_id, row.user_id), row.action_type, row.id, row.kind, row.at
            )
            for row in told
        }
        new += suppressing.suppress(conn, list(asked.values()), actor=_actor(provider), now=now)
        suppressing.end_what_waits(conn, list(asked.values()), actor=_actor(provider), now=now)
    return new


def _settle(conn: Connection, ready: dict[str, list[int]], now: datetime, settings: Settings) -> int:
    """Say what became of actions nobody knew of; return how many."""
    settled = conn.execute(_SETTLE, {**ready, "now": now}).all()

    def by(row: sa.Row) -> tuple[str, str]:
        return row.provider, row.status

    for (provider, status), rows in groupby(sorted(settled, key=by), key=by):
        ids = [row.id for row in rows]
        reason = "dropped" if status == "failed" else None
        record(conn, ids, "settled", actor=_actor(provider), old="unknown", new=status, reason=reason, at=now)
    sent = [Happened(row.id, f"{row.action_type}_sent", row.executed_at) for row in settled if row.status == "executed"]
    own_events.add(conn, sent, settings=settings, now=now)
    return len(settled)


def _actor(provider: str) -> str:
    return "tracking" if provider == tracked_letters.CHANNEL else f"webhook:{provider}"
