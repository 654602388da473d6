"""Which of a user's days changed, so that new days are added to what stands; and no counts by hour, which nothing read"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

SCHEMA = "oracle"


def upgrade() -> None:
    """Add the column, empty for whoever waits (all of their days count again); drop the others without a rewrite."""
    op.add_column("dirty_users", sa.Column("since", sa.Date()), schema=SCHEMA)
    for hour in range(24):
        op.drop_column("user_days", f"h{hour:02d}", schema=SCHEMA)
