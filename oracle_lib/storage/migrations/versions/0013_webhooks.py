"""What providers tell by webhook"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def upgrade() -> None:
    """Add the inbox, and the outcomes that only providers know of."""
    op.create_table(
        "webhook_inbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("raw", pg.BYTEA()),
        sa.Column("received_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("due_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("processed_at", MOMENT),
        sa.Column("kind", sa.Text()),
        sa.Column("at", MOMENT),
        sa.Column("action_id", sa.Uuid()),
        sa.Column("provider_id", sa.Text()),
        sa.Column("user_agent", sa.Text()),
        sa.Column("delay_seconds", sa.Float()),
        sa.Column("machine", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_inbox")),
        sa.UniqueConstraint("provider", "event_id", name=op.f("uq_webhook_inbox_provider_event_id")),
        schema=SCHEMA,
    )
    for name, column, where in (
        ("ix_webhook_inbox_due_at", "due_at", "processed_at IS NULL"),
        ("ix_webhook_inbox_action_id", "action_id", None),
        ("ix_webhook_inbox_received_at", "received_at", "raw IS NOT NULL"),
    ):
        only = sa.text(where) if where else None
        op.create_index(name, "webhook_inbox", [column], schema=SCHEMA, postgresql_where=only)
    op.drop_constraint(op.f("ck_outcomes_kind"), "outcomes", schema=SCHEMA)
    op.create_check_constraint(
        op.f("ck_outcomes_kind"),
        "outcomes",
        "kind IN ('delivered', 'opened', 'clicked', 'replied', 'converted', 'bounced', 'complained', 'unsubscribed',"
        " 'dropped', 'machine_opened', 'machine_clicked')",
        schema=SCHEMA,
    )
