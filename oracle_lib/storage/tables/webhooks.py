"""What e-mail providers tell of the messages they were handed."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.storage.tables.base import metadata, moment, serial_id

# One row an event of a provider, however often it was told; what it says is read later, into the columns below `raw`.
webhook_inbox = sa.Table(
    "webhook_inbox",
    metadata,
    serial_id(),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    # None once retention is over.
    sa.Column("raw", pg.BYTEA),
    moment("received_at", default_now=True),
    # When it is looked at next, while `processed_at` is empty.
    moment("due_at", default_now=True),
    moment("processed_at", nullable=True),
    # What it says: empty before it was read, and where ORACLE does not know the type.
    sa.Column("kind", sa.Text),
    moment("at", nullable=True),
    sa.Column("action_id", sa.Uuid),
    sa.Column("provider_id", sa.Text),
    sa.Column("user_agent", sa.Text),
    # Of an open or click: seconds after the delivery, and whether a program rather than a person did it.
    sa.Column("delay_seconds", sa.Float),
    sa.Column("machine", sa.Boolean, nullable=False, server_default="false"),
    sa.UniqueConstraint("provider", "event_id"),
    sa.Index("ix_webhook_inbox_due_at", "due_at", postgresql_where=sa.text("processed_at IS NULL")),
    sa.Index("ix_webhook_inbox_action_id", "action_id"),
    sa.Index("ix_webhook_inbox_received_at", "received_at", postgresql_where=sa.text("raw IS NOT NULL")),
)
