"""Drafts beside what is published, pauses, rules that are gone but not forgotten, and who published what"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SCHEMA = "oracle"


def upgrade() -> None:
    """Add the columns; a name is taken by living rules only; who published a version is taken over from the audit log."""
    op.add_column("rules", sa.Column("draft", postgresql.JSONB(astext_type=sa.Text()), nullable=True), schema=SCHEMA)
    for name in ("draft_by", "paused_by", "pause_reason"):
        op.add_column("rules", sa.Column(name, sa.Text(), nullable=True), schema=SCHEMA)
    for name in ("draft_at", "paused_at", "archived_at"):
        op.add_column("rules", sa.Column(name, sa.DateTime(timezone=True), nullable=True), schema=SCHEMA)
    for name in ("trigger", "conditions", "action_type", "action_data"):
        op.alter_column("rules", name, nullable=True, schema=SCHEMA)
    op.create_check_constraint(
        op.f("ck_rules_published_is_whole"),
        "rules",
        "version = 0 AND NOT is_active OR num_nulls(trigger, conditions, action_type, action_data) = 0 AND version > 0",
        schema=SCHEMA,
    )
    op.drop_constraint("uq_rules_name", "rules", schema=SCHEMA)
    op.create_index(
        "uq_rules_name", "rules", ["name"], unique=True, schema=SCHEMA, postgresql_where=sa.text("archived_at IS NULL")
    )
    op.add_column("rule_versions", sa.Column("published_by", sa.Text(), nullable=True), schema=SCHEMA)
    op.execute("ALTER TABLE oracle.rule_versions DISABLE TRIGGER rule_versions_kept")
    op.execute(
        "UPDATE oracle.rule_versions v SET published_by = a.actor FROM oracle.audit_log a"
        " WHERE a.verb = 'rule.published' AND a.subject = 'rule:' || v.rule_id"
        " AND a.detail->>'version' = v.version::text"
    )
    op.execute("ALTER TABLE oracle.rule_versions ENABLE TRIGGER rule_versions_kept")


def downgrade() -> None:
    raise NotImplementedError("Migrations are not undone; restore the backup that was taken before.")
