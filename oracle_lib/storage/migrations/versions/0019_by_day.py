"""Tables of days are found by day first: a new day is written at one place of the index, not at one for each user"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
_TABLES = {"user_days": (), "user_day_events": ("event",), "user_lessons": ("course_id", "lesson_id")}


def upgrade() -> None:
    """Turn the keys around; seconds for millions of rows, in which they cannot be read."""
    op.drop_index("ix_user_days_day", "user_days", schema=SCHEMA)
    for table, others in _TABLES.items():
        op.drop_constraint(op.f(f"pk_{table}"), table, schema=SCHEMA)
        op.create_primary_key(op.f(f"pk_{table}"), table, ["day", "user_id", *others], schema=SCHEMA)
        op.create_index(op.f(f"ix_{table}_user_id"), table, ["user_id"], schema=SCHEMA)
