"""Watching events come in, the tracking plan, and Segment's messages among the refused ones"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "oracle"


def upgrade() -> None:
    """Add what integrators see and say."""
    op.create_table(
        "event_tails",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_tails")),
        schema=SCHEMA,
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "tailed_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tail_id", sa.Uuid(), nullable=False),
        sa.Column("shown", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tailed_events")),
        schema=SCHEMA,
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "tracking_plan",
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("schema", postgresql.JSONB(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.CheckConstraint("mode IN ('warn', 'reject')", name=op.f("ck_tracking_plan_mode")),
        sa.PrimaryKeyConstraint("event", name=op.f("pk_tracking_plan")),
        schema=SCHEMA,
    )
    op.add_column("rejected_events", sa.Column("envelope", postgresql.BYTEA(), nullable=True), schema=SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("Migrations are not undone; restore the backup that was taken before.")
