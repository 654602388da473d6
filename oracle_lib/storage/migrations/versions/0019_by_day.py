"""Tables of days are found by day first, days with rare acts apart; logins in the windows asked for most

A new day is written at one place of the index then, not at one for each user.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
_TABLES = {"user_days": (), "user_day_events": ("event",), "user_lessons": ("course_id", "lesson_id")}

_RARE = (
    "revenue",
    "refunds",
    "signup",
    "course_complete",
    "course_withdrawn",
    "certificate_download",
    "purchase",
    "refund",
    "upgrade",
    "feedback_given",
    "referral_shared",
    "support_ticket",
)
_COUNT_LOGINS = """
    UPDATE oracle.activity a SET login_7d = counted.week, login_30d = counted.month
      FROM (SELECT d.user_id, COALESCE(sum(d.login) FILTER (WHERE d.day > w.as_of - 7), 0) AS week,
                   sum(d.login) AS month
              FROM oracle.user_days d
              JOIN oracle.watermarks w ON w.stage = 'activity' AND d.day <= w.as_of AND d.day > w.as_of - 30
             GROUP BY d.user_id) AS counted
     WHERE a.user_id = counted.user_id
"""


def upgrade() -> None:
    """Turn the keys around; seconds for millions of rows, in which they cannot be read."""
    op.drop_index("ix_user_days_day", "user_days", schema=SCHEMA)
    for table, others in _TABLES.items():
        op.drop_constraint(op.f(f"pk_{table}"), table, schema=SCHEMA)
        op.create_primary_key(op.f(f"pk_{table}"), table, ["day", "user_id", *others], schema=SCHEMA)
        op.create_index(op.f(f"ix_{table}_user_id"), table, ["user_id"], schema=SCHEMA)
    some = sa.text(" OR ".join(f"{name} <> 0" for name in _RARE))
    op.create_index("ix_user_days_rare", "user_days", ["day"], postgresql_where=some, schema=SCHEMA)
    for name in ("login_7d", "login_30d"):
        op.add_column("activity", sa.Column(name, sa.Integer(), nullable=False, server_default="0"), schema=SCHEMA)
    op.execute(_COUNT_LOGINS)
