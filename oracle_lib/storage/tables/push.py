"""The browsers that take web push, and for whom: personal data, gone when the push service says that they are."""

import sqlalchemy as sa

from oracle_lib.storage.tables.base import metadata, moment, uuid_id

push_subscriptions = sa.Table(
    "push_subscriptions",
    metadata,
    uuid_id(),
    sa.Column("user_id", sa.Text, nullable=False),
    # Where the push service takes messages for this browser; another user of the browser takes it over.
    sa.Column("endpoint", sa.Text, nullable=False, unique=True),
    # The browser's public key (a P-256 point, 65 bytes) and its 16 bytes of authentication: RFC 8291.
    sa.Column("p256dh", sa.LargeBinary(65), nullable=False),
    sa.Column("auth", sa.LargeBinary(16), nullable=False),
    moment("expires_at", nullable=True),
    moment("created_at", default_now=True),
    sa.Index("ix_push_subscriptions_user_id", "user_id"),
)
