"""The queues lose their numbers: nothing looks a row up by its own, and each cost an entry in an index"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop them; at once, however many wait."""
    op.drop_column("dirty_user_days", "id", schema="oracle")
    op.drop_column("dirty_users", "id", schema="oracle")
