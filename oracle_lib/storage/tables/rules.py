"""Automation rules with their drafts, their immutable versions, every time a guardrail said no, and tags.

A rule that was never published has version 0, is not active and says nothing but its name; its words are its draft.
"""

import sqlalchemy as sa

from oracle_lib.storage.tables.base import Json, metadata, moment, serial_id, uuid_id

rules = sa.Table(
    "rules",
    metadata,
    uuid_id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("trigger", sa.Text),
    sa.Column("conditions", Json),
    sa.Column("action_type", sa.Text),
    sa.Column("action_data", Json),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("priority", sa.Integer, nullable=False, server_default="5"),
    sa.Column("cooldown", sa.Integer, nullable=False, server_default="24"),
    sa.Column("max_per_user", sa.Integer),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
    sa.Column("approval", sa.Text, nullable=False, server_default="review"),
    sa.Column("message_class", sa.Text, nullable=False, server_default="marketing"),
    sa.Column("topic", sa.Text),
    # What counts as success, `{"event": ..., "within_days": n}`; none: the action has no goal.
    sa.Column("goal", Json),
    # Percent of users who get nothing, and other messages for shares of them (`experiments`).
    sa.Column("holdout", sa.Integer, nullable=False, server_default="0"),
    sa.Column("variants", Json, nullable=False, server_default="[]"),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("times_triggered", sa.BigInteger, nullable=False, server_default="0"),
    moment("last_triggered", nullable=True),
    # What somebody is still writing, as it was sent.
    sa.Column("draft", Json),
    sa.Column("draft_by", sa.Text),
    moment("draft_at", nullable=True),
    # A paused rule is not asked; an archived one is gone, and only its history and its causes stay.
    moment("paused_at", nullable=True),
    sa.Column("paused_by", sa.Text),
    sa.Column("pause_reason", sa.Text),
    moment("archived_at", nullable=True),
    moment("created_at", default_now=True),
    moment("updated_at", default_now=True),
    sa.CheckConstraint("trigger IN ('event_based', 'time_based', 'segment_based')", name="trigger"),
    sa.CheckConstraint("action_type IN ('email', 'dm', 'push', 'post', 'alert', 'tag')", name="action_type"),
    sa.CheckConstraint("priority BETWEEN 1 AND 10", name="priority"),
    sa.CheckConstraint("cooldown >= 0", name="cooldown"),
    sa.CheckConstraint("approval IN ('review', 'auto')", name="approval"),
    sa.CheckConstraint("message_class IN ('marketing', 'transactional')", name="message_class"),
    sa.CheckConstraint(
        "version = 0 AND NOT is_active OR num_nulls(trigger, conditions, action_type, action_data) = 0 AND version > 0",
        name="published_is_whole",
    ),
    sa.Index("ix_rules_is_active_trigger", "is_active", "trigger"),
    sa.Index("uq_rules_name", "name", unique=True, postgresql_where=sa.text("archived_at IS NULL")),
)

# Published versions never change; what is queued keeps its version.
rule_versions = sa.Table(
    "rule_versions",
    metadata,
    sa.Column("rule_id", sa.Uuid, sa.ForeignKey(rules.c.id), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("definition", Json, nullable=False),
    moment("published_at", default_now=True),
    # None: published before this was kept.
    sa.Column("published_by", sa.Text),
)

skips = sa.Table(
    "skips",
    metadata,
    serial_id(),
    moment("at", default_now=True),
    sa.Column("rule_id", sa.Uuid),
    sa.Column("rule_version", sa.Integer),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("action_id", sa.Uuid),
    sa.UniqueConstraint("rule_id", "user_id", "cause", "reason"),
    sa.Index("ix_skips_user_id_at", "user_id", "at"),
)

user_tags = sa.Table(
    "user_tags",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Column("set_by", sa.Text, nullable=False),
    moment("set_at", default_now=True),
)
