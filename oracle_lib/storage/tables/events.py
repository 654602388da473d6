"""Events as they came in, the keys that keep each one single, what was refused, and which days wait to be recounted."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.storage.tables.base import Json, Money, metadata, moment, serial_id

# Range-partitioned by UTC day of created_at; every read bounds created_at. No primary key: an index on id would
# halve the rate of ingest and nothing looks an event up by id alone.
events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Uuid, nullable=False, server_default=sa.text("uuidv7()")),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("metadata", Json),
    sa.Column("source", sa.Text),
    sa.Column("session_id", sa.Text),
    moment("created_at"),
    moment("received_at", default_now=True),
    # What the catalogue reads from metadata, parsed once at the door.
    sa.Column("amount", Money),
    sa.Column("seconds", sa.Integer),
    sa.Column("course_id", sa.Text),
    sa.Column("lesson_id", sa.Text),
    sa.Index("ix_events_user_id_created_at", "user_id", "created_at"),
    postgresql_partition_by="RANGE (created_at)",
)

# One row a message id, in a partition of its day of receipt; imported history keeps its keys for ever (day 1970-01-01).
event_keys = sa.Table(
    "event_keys",
    metadata,
    sa.Column("message_id", sa.Text, primary_key=True),
    sa.Column("received_on", sa.Date, primary_key=True),
    sa.Column("body_hash", sa.LargeBinary(16), nullable=False),
    postgresql_partition_by="RANGE (received_on)",
)

# Append only, no key: a writer that skipped its row because an older one stands there would be missed when a stage
# consumes the older one before the writer commits. Nor is a row ever looked up by itself.
dirty_user_days = sa.Table(
    "dirty_user_days",
    metadata,
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    moment("noticed_at", default_now=True),
)

# Users whose derived rows wait for a stage (`activity`, `segments`, `predictions`, `rules`). Each stage consumes its
# own in the transaction that writes what it derived, and hands them on to the next. Append only, as above. A row
# without a user stands for everybody.
dirty_users = sa.Table(
    "dirty_users",
    metadata,
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text),
    # Why: events, profile, course, or time alone.
    sa.Column("cause", sa.Text, nullable=False, server_default="events"),
    # For `activity`: the first of their days that changed. Empty: something else did, all of their days count again.
    sa.Column("since", sa.Date),
    sa.Index("ix_dirty_users_stage", "stage"),
)

# The day for which a stage's current table stands: what has left a window since is worked out from it. `everyone_at`:
# when it last looked at everybody.
watermarks = sa.Table(
    "watermarks",
    metadata,
    sa.Column("stage", sa.Text, primary_key=True),
    sa.Column("as_of", sa.Date, nullable=False),
    moment("everyone_at", nullable=True),
)

rejected_events = sa.Table(
    "rejected_events",
    metadata,
    serial_id(),
    moment("received_at", default_now=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("raw", pg.BYTEA, nullable=False),
    sa.Column("reason_code", sa.Text, nullable=False),
    sa.Column("field", sa.Text),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False, server_default="1"),
    # What a Segment request said beside the message; nothing for an event in our own form.
    sa.Column("envelope", pg.BYTEA),
    moment("replayed_at", nullable=True),
    sa.Index("ix_rejected_events_received_at", "received_at"),
)

# Days whose raw events were dropped: nothing may be added to them, their rollups stay.
sealed_days = sa.Table(
    "sealed_days",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    moment("sealed_at", default_now=True),
)
