"""Which of the days up to the last active one were active stands as bits, which do not move with time

The windows of 14, 21 and 28 days moved for most users every day, and told the active weeks only.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
_FILL = """
    UPDATE oracle.activity a SET active_bits = found.bits
      FROM (SELECT l.user_id, bit_or(1 << (l.last_active_on - d.day)) AS bits
              FROM oracle.activity l
              JOIN oracle.watermarks w ON w.stage = 'activity' AND l.last_active_on > w.as_of - 30
              JOIN oracle.user_days d ON d.user_id = l.user_id AND d.acted > 0
               AND d.day > l.last_active_on - 28 AND d.day <= l.last_active_on
             GROUP BY l.user_id) AS found
     WHERE a.user_id = found.user_id
"""


def upgrade() -> None:
    """Fill them from the days; seconds for hundreds of thousands of users."""
    count = sa.Column("active_bits", sa.Integer(), nullable=False, server_default="0")
    op.add_column("activity", count, schema=SCHEMA)
    op.execute(_FILL)
    for days in (14, 21, 28):
        op.drop_column("activity", f"active_days_{days}d", schema=SCHEMA)
