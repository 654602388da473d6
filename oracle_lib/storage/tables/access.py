"""Who may call, what was done with power, and what the installation signs with; the log holds ids, never names."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.storage.tables.base import Json, metadata, moment, serial_id

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("secret_sha256", sa.LargeBinary(32), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("scopes", pg.ARRAY(sa.Text), nullable=False),
    moment("created_at", default_now=True),
    moment("last_used_at", nullable=True),
    moment("expires_at", nullable=True),
    moment("revoked_at", nullable=True),
)

# Insert only: the migration adds a trigger that refuses UPDATE and DELETE.
audit_log = sa.Table(
    "audit_log",
    metadata,
    serial_id(),
    moment("at", default_now=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", Json),
    sa.Index("ix_audit_log_subject", "subject"),
)

# Random keys of this installation, made once: what was signed before a restart or a restored backup stays valid.
secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    moment("made_at", default_now=True),
)
