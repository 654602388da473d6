"""Message ids, each claimed once within 48 hours: how an event that is sent again is stored only once.

`event_keys` is partitioned by day of receipt, and uniqueness holds within a day. So an id is looked up in the days
before, and around midnight, when two processes can receive it on both sides, it is claimed in both days. Imported
history has a day of its own that is never dropped.

A batch of fresh ids is one COPY. Only when one of them is taken is the batch claimed again the slow way, id by id.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import cast

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from oracle_lib.clock import DAY
from oracle_lib.storage import partitions

_MIDNIGHT = timedelta(minutes=10)
_KNOWN_DAYS = 2

_COPY = "COPY event_keys (message_id, received_on, body_hash) FROM STDIN"
# Parameters go as one JSON text: dumping arrays value by value took longer than the statement.
_CLAIM = sa.text(
    """
    INSERT INTO event_keys (message_id, received_on, body_hash)
    SELECT k ->> 0, CAST(:day AS date), decode(k ->> 1, 'hex')
      FROM jsonb_array_elements(CAST(:keys AS jsonb)) AS k ORDER BY 1
        ON CONFLICT DO NOTHING RETURNING message_id
    """
)
_KEPT = sa.text(
    """
    SELECT e.message_id, e.body_hash FROM jsonb_array_elements_text(CAST(:ids AS jsonb)) AS asked (id)
      JOIN event_keys e ON e.message_id = asked.id
     WHERE e.received_on = ANY (CAST(:days AS date[])) ORDER BY e.received_on DESC
    """
)


def claim(conn: Connection, bodies: Mapping[str, bytes], *, received_at: datetime, imported: bool) -> dict[str, bytes]:
    """Claim message ids, each with its event's hash; return those claimed before, with the hash they had then."""
    if not bodies:
        return {}
    today = received_at.date()
    here = [partitions.IMPORTED] if imported else sorted({(received_at - _MIDNIGHT).date(), today})
    before = [day for back in range(_KNOWN_DAYS + 1) if (day := today - back * DAY) not in here]
    known = _kept(conn, list(bodies), before)
    fresh = {key: body for key, body in bodies.items() if key not in known}
    for day in here:
        known |= _claim_in(conn, fresh, day)
    return known


def _claim_in(conn: Connection, bodies: Mapping[str, bytes], day: date) -> dict[str, bytes]:
    """Claim ids in the partition of a day; return those that were taken there, with the hash of who took them."""
    try:
        with conn.begin_nested():
            _copy(conn, bodies, day)
    except IntegrityError:
        keys = msgspec.json.encode([[key, body.hex()] for key, body in bodies.items()]).decode()
        won = set(conn.execute(_CLAIM, {"day": day, "keys": keys}).scalars())
        return _kept(conn, [key for key in bodies if key not in won], [day])
    return {}


def _copy(conn: Connection, bodies: Mapping[str, bytes], day: date) -> None:
    driver = cast("psycopg.Connection", conn.connection.driver_connection)
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            # In one order, so that two batches with ids in common wait for each other instead of deadlocking.
            for key in sorted(bodies):
                copy.write_row((key, day, bodies[key]))
    except psycopg.errors.UniqueViolation as error:
        raise IntegrityError("COPY event_keys", None, error) from error


def _kept(conn: Connection, ids: list[str], days: list[date]) -> dict[str, bytes]:
    """Return the ids that are kept in partitions of `days`, with their hash: the oldest, the one that was first."""
    if not ids or not days:
        return {}
    rows = conn.execute(_KEPT, {"ids": msgspec.json.encode(ids).decode(), "days": days})
    return {row.message_id: bytes(row.body_hash) for row in rows}
