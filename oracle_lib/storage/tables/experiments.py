"""Experiments of rules: who was assigned to which arm, and what they did from then on."""

import sqlalchemy as sa

from oracle_lib.storage.tables.base import Json, Money, metadata, moment, uuid_id
from oracle_lib.storage.tables.rules import rules

# One row for each set of words, shares and goal that a rule has had: whoever changes one of these begins anew.
experiments = sa.Table(
    "experiments",
    metadata,
    uuid_id(),
    sa.Column("rule_id", sa.Uuid, sa.ForeignKey(rules.c.id), nullable=False),
    # The version that began it.
    sa.Column("rule_version", sa.Integer, nullable=False),
    # `[{"arm": ..., "share": percent, "until": percent}, ...]`: a user whose place is under `until` is in the arm.
    sa.Column("arms", Json, nullable=False),
    sa.Column("words_hash", sa.Text, nullable=False),
    sa.Column("goal_event", sa.Text, nullable=False),
    sa.Column("goal_days", sa.Integer, nullable=False),
    moment("started_at"),
    moment("ended_at", nullable=True),
    sa.CheckConstraint("goal_days BETWEEN 1 AND 90", name="goal_days"),
    sa.Index("uq_experiments_standing", "rule_id", unique=True, postgresql_where=sa.text("ended_at IS NULL")),
)

# One row a user, written when the rule first would have reached them: from then on they count, reached or not.
assignments = sa.Table(
    "assignments",
    metadata,
    sa.Column("experiment_id", sa.Uuid, sa.ForeignKey(experiments.c.id), primary_key=True),
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("rule_version", sa.Integer, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    moment("exposed_at"),
    # The first goal event and what was paid, less refunds, in the days of the goal.
    moment("converted_at", nullable=True),
    sa.Column("revenue", Money, nullable=False, server_default="0"),
    moment("unsubscribed_at", nullable=True),
    moment("complained_at", nullable=True),
    sa.Index("ix_assignments_user_id", "user_id"),
    sa.Index("ix_assignments_exposed_at", "exposed_at"),
)

# What a rule's holdout says it brings about, all its words together: what the next best action is chosen by.
rule_effects = sa.Table(
    "rule_effects",
    metadata,
    sa.Column("rule_id", sa.Uuid, sa.ForeignKey(rules.c.id), primary_key=True),
    sa.Column("difference", sa.Float, nullable=False),
    sa.Column("standard_error", sa.Float, nullable=False),
    sa.Column("users", sa.Integer, nullable=False),
)
