"""Why users are worked out and segments change, answers to the checks, scores to be held against what came"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SCHEMA = "oracle"


def upgrade() -> None:
    """Add the columns and tables; models without typical values cannot explain themselves: the next training replaces them."""
    op.add_column("dirty_users", sa.Column("cause", sa.Text(), server_default="events", nullable=False), schema=SCHEMA)
    op.add_column("watermarks", sa.Column("everyone_at", sa.DateTime(timezone=True), nullable=True), schema=SCHEMA)
    op.add_column("segment_changes", sa.Column("cause", sa.Text(), nullable=True), schema=SCHEMA)
    op.create_table(
        "past_scores",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("day", "target", "user_id", name=op.f("pk_past_scores")),
        schema=SCHEMA,
    )
    op.create_table(
        "checks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_checks")),
        schema=SCHEMA,
    )
    op.execute("UPDATE oracle.models SET status = 'retired' WHERE status = 'promoted' AND NOT parameters ? 'typical'")


def downgrade() -> None:
    raise NotImplementedError("Migrations are not undone; restore the backup that was taken before.")
