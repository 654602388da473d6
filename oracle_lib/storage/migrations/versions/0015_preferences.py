"""What users want less of: marketing about a topic, or more than one a week"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add columns and tables; what stands is about no topic."""
    op.add_column("rules", sa.Column("topic", sa.Text()), schema=SCHEMA)
    op.add_column("actions", sa.Column("topic", sa.Text()), schema=SCHEMA)
    op.create_table(
        "refused_topics",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "channel", "topic", name=op.f("pk_refused_topics")),
        schema=SCHEMA,
    )
    op.create_table(
        "fewer_wanted",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "channel", name=op.f("pk_fewer_wanted")),
        schema=SCHEMA,
    )
