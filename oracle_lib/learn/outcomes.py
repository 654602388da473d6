"""What came of executed actions: delivered, opened, clicked, replied, converted. Table `outcomes`.

- `delivered`: a channel took the message. What a person did by hand has no channel and is not counted as delivered.
- `opened`, `clicked`, `replied`: an event of the same user, the product's or our own of a webhook, names the action in
  `metadata.actionId` or `.emailId`, from one day before (clocks differ) to 30 days after its execution.
- `converted`: the user did the goal event of the action's rule version after its execution and within the goal's days.
  A goal event is credited to one action, the newest executed before it that has this goal, and stays with it; an
  action converts once, with the first event it was credited with. So conversions and their money can be added up. It
  says what followed a message, not what the message brought about: only a holdout can say that.
- The other kinds come from webhooks (`webhooks/processing.py`) and the link to unsubscribe.

Each kind stands once an action, at its earliest event: a repeat changes nothing, an older event that comes late moves
the time back, nothing is ever taken away. Test: `tests/unit/test_outcomes.py`.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY
from oracle_lib.observe.wire import LATE
from oracle_lib.settings import Settings
from oracle_lib.storage.locks import lock

RESPONSE_WINDOW = timedelta(days=30)
RESPONSES = {
    "email_open": "opened",
    "email_click": "clicked",
    "email_reply": "replied",
    "dm_read": "opened",
    "dm_reply": "replied",
    "push_open": "opened",
}
_CLOCK_SKEW = DAY


@dataclass(frozen=True)
class OutcomesReport:
    """One attribution: actions that could still get an outcome, new outcomes by kind, and those moved to earlier."""

    actions: int
    recorded: dict[str, int] = field(default_factory=dict)
    moved: int = 0


_TABLE = sa.text("""
    CREATE TEMPORARY TABLE open_actions (
        id uuid, key text, user_id text, channel text, executed_at timestamptz, goal text, until timestamptz
    ) ON COMMIT DROP
""")

# Actions whose windows are open, or closed so lately that an event for them may still come in. A table, so that the
# planner knows how few or many they are.
_OPEN = sa.text("""
    WITH open AS (
        INSERT INTO open_actions
        SELECT a.id, CAST(a.id AS text), a.user_id, a.channel, a.executed_at, goal.event, goal.until
        FROM actions a
        LEFT JOIN rule_versions v ON v.rule_id = a.rule_id AND v.version = a.rule_version
        CROSS JOIN LATERAL (
            SELECT v.definition -> 'goal' ->> 'event' AS event,
                a.executed_at + make_interval(days => COALESCE(
                    CAST(v.definition -> 'goal' ->> 'within_days' AS integer), :conversion_days)) AS until
        ) goal
        WHERE a.status = 'executed' AND a.executed_at <= :now
            AND GREATEST(goal.until, a.executed_at + CAST(:response_window AS interval)) > :open_since
        RETURNING executed_at
    )
    SELECT count(*), min(executed_at) FROM open
""")

_ATTRIBUTE = sa.text("""
    WITH credited AS (
        SELECT DISTINCT ON (e.user_id, e.message_id, e.created_at)
            open.id, e.created_at, e.user_id, e.message_id, e.amount
        FROM open_actions open
        JOIN events e ON e.user_id = open.user_id AND e.event = open.goal
            AND e.created_at > open.executed_at AND e.created_at <= open.until
        WHERE e.created_at >= :events_from AND e.created_at <= :now
            AND NOT EXISTS (
                SELECT FROM outcomes o
                WHERE o.kind = 'converted' AND o.message_id = e.message_id AND o.at = e.created_at
                    AND o.user_id = e.user_id AND o.action_id <> open.id
            )
        ORDER BY e.user_id, e.message_id, e.created_at, open.executed_at DESC, open.id DESC
    ),
    found AS (
        SELECT id, 'converted' AS kind, created_at AS at, user_id, message_id, amount FROM credited
        UNION ALL
        SELECT open.id, response.kind, e.created_at, e.user_id, e.message_id, NULL
        FROM unnest(CAST(:names AS text[]), CAST(:kinds AS text[])) AS response(event, kind)
        JOIN events e ON e.event = response.event
        CROSS JOIN LATERAL (VALUES (e.metadata ->> 'actionId'), (e.metadata ->> 'emailId')) AS named(key)
        JOIN open_actions open ON open.key = named.key AND open.user_id = e.user_id
            AND e.created_at >= open.executed_at - CAST(:clock_skew AS interval)
            AND e.created_at <= open.executed_at + CAST(:response_window AS interval)
        WHERE e.created_at >= :events_from AND e.created_at <= :now
        UNION ALL
        SELECT id, 'delivered', executed_at, user_id, NULL, NULL FROM open_actions WHERE channel IS NOT NULL
    ),
    recorded AS (
        INSERT INTO outcomes (action_id, kind, at, user_id, message_id, amount, recorded_at)
        SELECT DISTINCT ON (id, kind) id, kind, at, user_id, message_id, amount, :now
        FROM found ORDER BY id, kind, at, message_id
        ON CONFLICT (action_id, kind) DO UPDATE
            SET at = excluded.at, message_id = excluded.message_id, amount = excluded.amount
            WHERE excluded.at < outcomes.at
        RETURNING new.kind AS kind, old.kind IS NULL AS fresh
    )
    SELECT kind, count(*) FILTER (WHERE fresh) AS fresh, count(*) FILTER (WHERE NOT fresh) AS moved
    FROM recorded GROUP BY kind ORDER BY kind
""")


def attribute(conn: Connection, *, now: datetime, settings: Settings) -> OutcomesReport:
    """Record what events up to `now` say about executed actions. Idempotent: a second call writes nothing.

    Reads events no older than the oldest action whose windows, plus the time an event may come late, are not over.
    """
    lock(conn, "outcomes")
    asked = {
        "now": now,
        "open_since": now - LATE,
        "conversion_days": settings.conversion_days,
        "response_window": RESPONSE_WINDOW,
    }
    conn.execute(sa.text("DROP TABLE IF EXISTS pg_temp.open_actions"))
    conn.execute(_TABLE)
    actions, oldest = conn.execute(_OPEN, asked).one()
    if oldest is None:
        return OutcomesReport(actions=0)
    conn.execute(sa.text("ANALYZE pg_temp.open_actions"))
    found = conn.execute(
        _ATTRIBUTE,
        {
            **asked,
            "events_from": oldest - _CLOCK_SKEW,
            "clock_skew": _CLOCK_SKEW,
            "names": list(RESPONSES),
            "kinds": list(RESPONSES.values()),
        },
    ).all()
    return OutcomesReport(
        actions=actions,
        recorded={row.kind: row.fresh for row in found if row.fresh},
        moved=sum(row.moved for row in found),
    )
