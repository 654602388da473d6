"""Who each user is now, how that changed, and how many there were of each kind.

Scores and probabilities are floats 0-1 or integers 0-100 as named; the wire rounds to 0-100.
"""

import sqlalchemy as sa

from oracle_lib.storage.tables.base import ROOM_FOR_ALL, Money, metadata, moment, serial_id, uuid_id

segments = sa.Table(
    "segments",
    metadata,
    uuid_id(),
    sa.Column("user_id", sa.Text, nullable=False, unique=True),
    sa.Column("engagement_level", sa.Text, nullable=False, server_default="new"),
    sa.Column("engagement_score", sa.Integer, nullable=False, server_default="50"),
    sa.Column("churn_risk", sa.Float, nullable=False, server_default="0"),
    # Empty until the first scoring, so that a first level is no change of level.
    sa.Column("churn_level", sa.Text),
    sa.Column("churn_reason", sa.Text),
    sa.Column("lifecycle", sa.Text, nullable=False, server_default="lead"),
    sa.Column("persona", sa.Text),
    sa.Column("learning_style", sa.Text),
    sa.Column("ltv", Money),
    sa.Column("value_segment", sa.Text),
    sa.Column("completion_prob", sa.Float),
    sa.Column("upgrade_prob", sa.Float),
    sa.Column("referral_prob", sa.Float),
    sa.Column("best_contact_time", sa.Text),
    sa.Column("best_channel", sa.Text),
    # 0-100; unknown without the course in the catalogue.
    sa.Column("progress", sa.Integer),
    sa.Column("course_id", sa.Text),
    sa.Column("last_active_on", sa.Date),
    # Of a look at this user alone; a look at everybody is `watermarks.everyone_at`.
    moment("last_analyzed", nullable=True),
    moment("created_at", default_now=True),
    moment("updated_at", default_now=True),
    sa.CheckConstraint("engagement_level IN ('new', 'active', 'moderate', 'dormant', 'lost')", name="engagement_level"),
    sa.CheckConstraint("engagement_score BETWEEN 0 AND 100", name="engagement_score"),
    sa.CheckConstraint("churn_risk BETWEEN 0 AND 1", name="churn_risk"),
    sa.CheckConstraint("churn_level IN ('low', 'medium', 'high', 'critical')", name="churn_level"),
    sa.CheckConstraint("lifecycle IN ('lead', 'new', 'active', 'engaged', 'graduate', 'alumni')", name="lifecycle"),
    postgresql_with=ROOM_FOR_ALL,
)

segment_changes = sa.Table(
    "segment_changes",
    metadata,
    serial_id(),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("field", sa.Text, nullable=False),
    sa.Column("old", sa.Text),
    sa.Column("new", sa.Text),
    # The day the change was worked out for, and what brought it about: something new is known of the user (`events`,
    # `profile`, `course`), a day went by (`time`), another `model` stands, or `settings` are others.
    sa.Column("as_of", sa.Date, nullable=False),
    sa.Column("cause", sa.Text),
    moment("changed_at", default_now=True),
    sa.Index("ix_segment_changes_user_id_changed_at", "user_id", "changed_at"),
    sa.Index("ix_segment_changes_changed_at", "changed_at"),
)

segment_counts = sa.Table(
    "segment_counts",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("field", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("users", sa.Integer, nullable=False),
)
