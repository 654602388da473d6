"""Habits: when users come, on which channel they answer, in which form they learn"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
COUNTS = (
    "mornings",
    "afternoons",
    "evenings",
    "emails_sent",
    "emails_answered",
    "dms_sent",
    "dms_answered",
    "pushes_sent",
    "pushes_answered",
    "visual",
    "audio",
    "reading",
    "doing",
)


def upgrade() -> None:
    """Add the table, and have it filled: without a watermark the next refresh works everybody out."""
    op.create_table(
        "habits",
        sa.Column("user_id", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer(), server_default="0", nullable=False) for name in COUNTS),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_habits")),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 85},
    )
    op.execute("DELETE FROM oracle.watermarks WHERE stage = 'activity'")
