"""Pauses that end by themselves, and the installation's own secrets"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add both; suppressions that stand have no end."""
    op.add_column("suppressions", sa.Column("until", MOMENT), schema=SCHEMA)
    op.create_table(
        "secrets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
        schema=SCHEMA,
    )
