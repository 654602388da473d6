"""Experiments of rules, and the stop switch"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
MONEY = sa.Numeric(12, 2)
MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def upgrade() -> None:
    """Add the tables; rules that stand go on as they are, with nobody held out."""
    op.add_column("rules", sa.Column("holdout", sa.Integer(), server_default="0", nullable=False), schema=SCHEMA)
    op.add_column("rules", sa.Column("variants", pg.JSONB(), server_default="[]", nullable=False), schema=SCHEMA)
    op.add_column("actions", sa.Column("experiment_id", sa.Uuid()), schema=SCHEMA)
    op.add_column("actions", sa.Column("arm", sa.Text()), schema=SCHEMA)
    op.add_column("actions", sa.Column("address", sa.Text()), schema=SCHEMA)
    op.create_table(
        "experiments",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("rule_id", sa.Uuid(), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("arms", pg.JSONB(), nullable=False),
        sa.Column("words_hash", sa.Text(), nullable=False),
        sa.Column("goal_event", sa.Text(), nullable=False),
        sa.Column("goal_days", sa.Integer(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.CheckConstraint("goal_days BETWEEN 1 AND 90", name=op.f("ck_experiments_goal_days")),
        sa.ForeignKeyConstraint(["rule_id"], [f"{SCHEMA}.rules.id"], name=op.f("fk_experiments_rule_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        schema=SCHEMA,
    )
    op.create_index(
        "uq_experiments_standing",
        "experiments",
        ["rule_id"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "assignments",
        sa.Column("experiment_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("exposed_at", MOMENT, nullable=False),
        sa.Column("converted_at", MOMENT),
        sa.Column("revenue", MONEY, server_default="0", nullable=False),
        sa.Column("unsubscribed_at", MOMENT),
        sa.Column("complained_at", MOMENT),
        sa.ForeignKeyConstraint(
            ["experiment_id"], [f"{SCHEMA}.experiments.id"], name=op.f("fk_assignments_experiment_id")
        ),
        sa.PrimaryKeyConstraint("experiment_id", "user_id", name=op.f("pk_assignments")),
        schema=SCHEMA,
    )
    op.create_index("ix_assignments_user_id", "assignments", ["user_id"], schema=SCHEMA)
    op.create_index("ix_assignments_exposed_at", "assignments", ["exposed_at"], schema=SCHEMA)
    op.create_table(
        "rule_effects",
        sa.Column("rule_id", sa.Uuid(), nullable=False),
        sa.Column("difference", sa.Float(), nullable=False),
        sa.Column("standard_error", sa.Float(), nullable=False),
        sa.Column("users", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["rule_id"], [f"{SCHEMA}.rules.id"], name=op.f("fk_rule_effects_rule_id")),
        sa.PrimaryKeyConstraint("rule_id", name=op.f("pk_rule_effects")),
        schema=SCHEMA,
    )
    op.create_table(
        "sending_stops",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("stopped_by", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "scope IN ('all', 'email', 'dm', 'push', 'post', 'alert')", name=op.f("ck_sending_stops_scope")
        ),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_sending_stops")),
        schema=SCHEMA,
    )
