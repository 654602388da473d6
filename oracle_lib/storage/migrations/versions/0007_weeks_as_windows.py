"""Active days of two, three and four weeks, from which active weeks follow: windows that days can be taken off"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SCHEMA = "oracle"


def upgrade() -> None:
    """Replace the column, and have the new ones filled: without a watermark the next refresh works everybody out."""
    for days in (14, 21, 28):
        column = sa.Column(f"active_days_{days}d", sa.Integer(), server_default="0", nullable=False)
        op.add_column("activity", column, schema=SCHEMA)
    op.drop_column("activity", "active_weeks_4", schema=SCHEMA)
    op.execute("DELETE FROM oracle.watermarks WHERE stage = 'activity'")


def downgrade() -> None:
    raise NotImplementedError("Migrations are not undone; restore the backup that was taken before.")
