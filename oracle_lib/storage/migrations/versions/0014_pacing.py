"""Indexes by which sending is paced"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

SCHEMA = "oracle"


def upgrade() -> None:
    """Find what was sent lately: on a channel, by a version of a rule, and in all."""
    by_version = ["rule_id", "rule_version", "first_attempt_at"]
    op.create_index(
        "ix_actions_action_type_first_attempt_at", "actions", ["action_type", "first_attempt_at"], schema=SCHEMA
    )
    op.create_index("ix_actions_rule_id_rule_version_first_attempt_at", "actions", by_version, schema=SCHEMA)
    op.create_index("ix_actions_executed_at", "actions", ["executed_at"], schema=SCHEMA)
