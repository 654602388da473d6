"""What integrators see and say of the events they send: who is watching, what was seen, and what was agreed on."""

import sqlalchemy as sa

from oracle_lib.storage.tables.base import Json, metadata, moment, serial_id, uuid_id

# Someone who watches events come in, until the lease ends. Lost in a crash, as is what they were about to be shown.
event_tails = sa.Table(
    "event_tails",
    metadata,
    uuid_id(),
    sa.Column("source", sa.Text),
    sa.Column("key_id", sa.Text),
    moment("until"),
    prefixes=["UNLOGGED"],
)

# What a tail has to show: written by the transaction that decided about the event, taken by the tail.
tailed_events = sa.Table(
    "tailed_events",
    metadata,
    serial_id(),
    sa.Column("tail_id", sa.Uuid, nullable=False),
    sa.Column("shown", Json, nullable=False),
    prefixes=["UNLOGGED"],
)

# What an event's metadata should look like, and what becomes of one that does not.
tracking_plan = sa.Table(
    "tracking_plan",
    metadata,
    sa.Column("event", sa.Text, primary_key=True),
    sa.Column("schema", Json, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    moment("updated_at", default_now=True),
    sa.Column("updated_by", sa.Text, nullable=False),
    sa.CheckConstraint("mode IN ('warn', 'reject')", name="mode"),
)
