"""The tables of the first loop"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# The state machine of actions, kept by the database too: nothing moves along an edge that is not here, and an executed
# action was approved, or done by hand by somebody.
_TRIGGERS = (
    """
    CREATE FUNCTION oracle.refuse_illegal_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF NEW.status <> 'pending' THEN
                RAISE EXCEPTION 'an action starts pending, not %', NEW.status USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END IF;
        IF NEW.status <> OLD.status AND NOT (OLD.status || '>' || NEW.status) = ANY (ARRAY[
            'pending>approved', 'pending>rejected', 'pending>expired', 'pending>superseded', 'pending>executed',
            'approved>executing', 'approved>pending', 'approved>cancelled', 'approved>expired', 'approved>executed',
            'executing>executed', 'executing>approved', 'executing>unknown', 'executing>failed', 'executing>skipped',
            'unknown>executed', 'unknown>approved', 'unknown>failed'
        ]) THEN
            RAISE EXCEPTION 'an action cannot move from % to %', OLD.status, NEW.status
                USING ERRCODE = 'check_violation';
        END IF;
        IF OLD.status <> 'pending' AND (NEW.content, NEW.subject, NEW.content_hash)
            IS DISTINCT FROM (OLD.content, OLD.subject, OLD.content_hash) THEN
            RAISE EXCEPTION 'only a pending action can be edited' USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.status = 'executing' AND NEW.approved_hash IS DISTINCT FROM NEW.content_hash THEN
            RAISE EXCEPTION 'what is sent must be what was approved' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER actions_move BEFORE INSERT OR UPDATE ON oracle.actions
        FOR EACH ROW EXECUTE FUNCTION oracle.refuse_illegal_move()
    """,
    """
    CREATE FUNCTION oracle.refuse_rewriting_history() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is written once and never changed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END $$
    """,
    """
    CREATE TRIGGER audit_log_kept BEFORE UPDATE OR DELETE ON oracle.audit_log
        FOR EACH ROW EXECUTE FUNCTION oracle.refuse_rewriting_history()
    """,
    """
    CREATE TRIGGER action_changes_kept BEFORE UPDATE OR DELETE ON oracle.action_changes
        FOR EACH ROW EXECUTE FUNCTION oracle.refuse_rewriting_history()
    """,
    """
    CREATE TRIGGER rule_versions_kept BEFORE UPDATE OR DELETE ON oracle.rule_versions
        FOR EACH ROW EXECUTE FUNCTION oracle.refuse_rewriting_history()
    """,
)


def upgrade() -> None:
    op.create_table(
        "actions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("action_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="5", nullable=False),
        sa.Column("template", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("message_class", sa.Text(), server_default="marketing", nullable=False),
        sa.Column("triggered_by", sa.Text(), nullable=False),
        sa.Column("trigger_data", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("rule_id", sa.Uuid(), nullable=True),
        sa.Column("rule_version", sa.Integer(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("approved_hash", sa.Text(), nullable=True),
        sa.Column("payload", postgresql.BYTEA(), nullable=True),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("sent_hash", sa.Text(), nullable=True),
        sa.Column("executed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "action_type IN ('email', 'dm', 'push', 'post', 'alert')", name=op.f("ck_actions_action_type")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'executing', 'unknown', 'executed', 'failed', 'skipped', 'rejected', 'cancelled', 'expired', 'superseded')",
            name=op.f("ck_actions_status"),
        ),
        sa.CheckConstraint("priority BETWEEN 1 AND 10", name=op.f("ck_actions_priority")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actions")),
        sa.UniqueConstraint("channel", "provider_id", name=op.f("uq_actions_channel_provider_id")),
        sa.UniqueConstraint("rule_id", "user_id", "cause", name=op.f("uq_actions_rule_id_user_id_cause")),
        schema="oracle",
    )
    op.create_index(
        "ix_actions_action_type_created_at", "actions", ["action_type", "created_at"], unique=False, schema="oracle"
    )
    op.create_index(
        "ix_actions_status_scheduled_at", "actions", ["status", "scheduled_at"], unique=False, schema="oracle"
    )
    op.create_index("ix_actions_user_id_status", "actions", ["user_id", "status"], unique=False, schema="oracle")
    op.create_table(
        "activity",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("first_seen_on", sa.Date(), nullable=True),
        sa.Column("first_active_on", sa.Date(), nullable=True),
        sa.Column("last_active_on", sa.Date(), nullable=True),
        sa.Column("last_active_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_lesson_on", sa.Date(), nullable=True),
        sa.Column("last_course_complete_on", sa.Date(), nullable=True),
        sa.Column("revenue", sa.Numeric(precision=12, scale=2), server_default="0", nullable=False),
        sa.Column("refunds", sa.Numeric(precision=12, scale=2), server_default="0", nullable=False),
        sa.Column("lesson_complete_total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("module_complete_total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("course_complete_total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("course_withdrawn_total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("purchase_total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("upgrade_total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unpriced_total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acted_1d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acted_7d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acted_30d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acted_90d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("active_days_7d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("active_days_30d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("active_days_90d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lesson_complete_1d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lesson_complete_7d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lesson_complete_30d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lesson_complete_90d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quiz_pass_30d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quiz_fail_7d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quiz_fail_30d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("community_30d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seconds_7d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seconds_30d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("email_sent_90d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("email_open_90d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("email_click_90d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dm_sent_90d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dm_read_90d", sa.Integer(), server_default="0", nullable=False),
        sa.Column("active_weeks_4", sa.Integer(), server_default="0", nullable=False),
        sa.Column("course_id", sa.Text(), nullable=True),
        sa.Column("lessons_done", sa.Integer(), nullable=True),
        sa.Column("lessons_in_course", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_activity")),
        schema="oracle",
        postgresql_with={"fillfactor": 60},
    )
    op.create_table(
        "aliases",
        sa.Column("previous_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("previous_id", name=op.f("pk_aliases")),
        schema="oracle",
    )
    op.create_index("ix_aliases_user_id", "aliases", ["user_id"], unique=False, schema="oracle")
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        schema="oracle",
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        schema="oracle",
    )
    op.create_index("ix_audit_log_subject", "audit_log", ["subject"], unique=False, schema="oracle")
    op.create_table(
        "courses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("price", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("starts_on", sa.Date(), nullable=True),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_courses")),
        schema="oracle",
    )
    op.create_table(
        "dirty_user_days",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("noticed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dirty_user_days")),
        schema="oracle",
    )
    op.create_table(
        "dirty_users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dirty_users")),
        schema="oracle",
    )
    op.create_index("ix_dirty_users_stage", "dirty_users", ["stage"], unique=False, schema="oracle")
    op.create_table(
        "event_keys",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("received_on", sa.Date(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "received_on", name=op.f("pk_event_keys")),
        schema="oracle",
        postgresql_partition_by="RANGE (received_on)",
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("amount", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("seconds", sa.Integer(), nullable=True),
        sa.Column("course_id", sa.Text(), nullable=True),
        sa.Column("lesson_id", sa.Text(), nullable=True),
        schema="oracle",
        postgresql_partition_by="RANGE (created_at)",
    )
    op.create_index("ix_events_user_id_created_at", "events", ["user_id", "created_at"], unique=False, schema="oracle")
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("rows_done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("accepted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("duplicate", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rejected", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("first_day", sa.Date(), nullable=True),
        sa.Column("last_day", sa.Date(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
        sa.UniqueConstraint("content_sha256", name=op.f("uq_imports_content_sha256")),
        schema="oracle",
    )
    op.create_table(
        "insights",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Integer(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("status", sa.Text(), server_default="new", nullable=False),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('new', 'reviewed', 'implemented', 'rejected')", name=op.f("ck_insights_status")),
        sa.CheckConstraint("type IN ('hypothesis', 'observation', 'recommendation')", name=op.f("ck_insights_type")),
        sa.CheckConstraint("confidence BETWEEN 0 AND 100", name=op.f("ck_insights_confidence")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_insights")),
        sa.UniqueConstraint("cause", name=op.f("uq_insights_cause")),
        schema="oracle",
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("action_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("action_type", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.BYTEA(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("action_id", name=op.f("uq_messages_action_id")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_messages_idempotency_key")),
        schema="oracle",
    )
    op.create_index(
        "ix_messages_user_id_delivered_at", "messages", ["user_id", "delivered_at"], unique=False, schema="oracle"
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("features", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("trained_from", sa.Date(), nullable=False),
        sa.Column("trained_to", sa.Date(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('promoted', 'held', 'retired')", name=op.f("ck_models_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("target", "version", name=op.f("uq_models_target_version")),
        schema="oracle",
    )
    op.create_index(
        "uq_models_promoted",
        "models",
        ["target"],
        unique=True,
        schema="oracle",
        postgresql_where=sa.text("status = 'promoted'"),
    )
    op.create_table(
        "outcomes",
        sa.Column("action_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('delivered', 'opened', 'clicked', 'replied', 'converted', 'bounced', 'complained', 'unsubscribed')",
            name=op.f("ck_outcomes_kind"),
        ),
        sa.PrimaryKeyConstraint("action_id", "kind", name=op.f("pk_outcomes")),
        schema="oracle",
    )
    op.create_table(
        "predictions",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name=op.f("ck_predictions_probability")),
        sa.PrimaryKeyConstraint("user_id", "target", name=op.f("pk_predictions")),
        schema="oracle",
        postgresql_with={"fillfactor": 45},
    )
    op.create_table(
        "profile_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("old", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("new", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile_changes")),
        schema="oracle",
    )
    op.create_index(
        "ix_profile_changes_user_id_changed_at",
        "profile_changes",
        ["user_id", "changed_at"],
        unique=False,
        schema="oracle",
    )
    op.create_table(
        "rejected_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("raw", postgresql.BYTEA(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected_events")),
        schema="oracle",
    )
    op.create_index("ix_rejected_events_received_at", "rejected_events", ["received_at"], unique=False, schema="oracle")
    op.create_table(
        "reports",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("week", sa.Date(), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("markdown", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("kind", "week", name=op.f("pk_reports")),
        schema="oracle",
    )
    op.create_table(
        "rules",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("conditions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("action_type", sa.Text(), nullable=False),
        sa.Column("action_data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("priority", sa.Integer(), server_default="5", nullable=False),
        sa.Column("cooldown", sa.Integer(), server_default="24", nullable=False),
        sa.Column("max_per_user", sa.Integer(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("approval", sa.Text(), server_default="review", nullable=False),
        sa.Column("message_class", sa.Text(), server_default="marketing", nullable=False),
        sa.Column("goal", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("times_triggered", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_triggered", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "action_type IN ('email', 'dm', 'push', 'post', 'alert', 'tag')", name=op.f("ck_rules_action_type")
        ),
        sa.CheckConstraint("approval IN ('review', 'auto')", name=op.f("ck_rules_approval")),
        sa.CheckConstraint("message_class IN ('marketing', 'transactional')", name=op.f("ck_rules_message_class")),
        sa.CheckConstraint("trigger IN ('event_based', 'time_based', 'segment_based')", name=op.f("ck_rules_trigger")),
        sa.CheckConstraint("cooldown >= 0", name=op.f("ck_rules_cooldown")),
        sa.CheckConstraint("priority BETWEEN 1 AND 10", name=op.f("ck_rules_priority")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rules")),
        sa.UniqueConstraint("name", name=op.f("uq_rules_name")),
        schema="oracle",
    )
    op.create_index("ix_rules_is_active_trigger", "rules", ["is_active", "trigger"], unique=False, schema="oracle")
    op.create_table(
        "run_requests",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="requested", nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status IN ('requested', 'started', 'succeeded', 'failed')", name=op.f("ck_run_requests_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_requests")),
        schema="oracle",
    )
    op.create_table(
        "sealed_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_sealed_days")),
        schema="oracle",
    )
    op.create_table(
        "segment_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("old", sa.Text(), nullable=True),
        sa.Column("new", sa.Text(), nullable=True),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segment_changes")),
        schema="oracle",
    )
    op.create_index("ix_segment_changes_changed_at", "segment_changes", ["changed_at"], unique=False, schema="oracle")
    op.create_index(
        "ix_segment_changes_user_id_changed_at",
        "segment_changes",
        ["user_id", "changed_at"],
        unique=False,
        schema="oracle",
    )
    op.create_table(
        "segment_counts",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("users", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", "field", "value", name=op.f("pk_segment_counts")),
        schema="oracle",
    )
    op.create_table(
        "segments",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("engagement_level", sa.Text(), server_default="new", nullable=False),
        sa.Column("engagement_score", sa.Integer(), server_default="50", nullable=False),
        sa.Column("churn_risk", sa.Float(), server_default="0", nullable=False),
        sa.Column("churn_level", sa.Text(), nullable=True),
        sa.Column("churn_reason", sa.Text(), nullable=True),
        sa.Column("lifecycle", sa.Text(), server_default="lead", nullable=False),
        sa.Column("persona", sa.Text(), nullable=True),
        sa.Column("learning_style", sa.Text(), nullable=True),
        sa.Column("ltv", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("value_segment", sa.Text(), nullable=True),
        sa.Column("completion_prob", sa.Float(), nullable=True),
        sa.Column("upgrade_prob", sa.Float(), nullable=True),
        sa.Column("referral_prob", sa.Float(), nullable=True),
        sa.Column("best_contact_time", sa.Text(), nullable=True),
        sa.Column("best_channel", sa.Text(), nullable=True),
        sa.Column("progress", sa.Integer(), nullable=True),
        sa.Column("course_id", sa.Text(), nullable=True),
        sa.Column("last_active_on", sa.Date(), nullable=True),
        sa.Column("last_analyzed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "churn_level IN ('low', 'medium', 'high', 'critical')", name=op.f("ck_segments_churn_level")
        ),
        sa.CheckConstraint(
            "engagement_level IN ('new', 'active', 'moderate', 'dormant', 'lost')",
            name=op.f("ck_segments_engagement_level"),
        ),
        sa.CheckConstraint(
            "lifecycle IN ('lead', 'new', 'active', 'engaged', 'graduate', 'alumni')",
            name=op.f("ck_segments_lifecycle"),
        ),
        sa.CheckConstraint("churn_risk BETWEEN 0 AND 1", name=op.f("ck_segments_churn_risk")),
        sa.CheckConstraint("engagement_score BETWEEN 0 AND 100", name=op.f("ck_segments_engagement_score")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
        sa.UniqueConstraint("user_id", name=op.f("uq_segments_user_id")),
        schema="oracle",
        postgresql_with={"fillfactor": 45},
    )
    op.create_table(
        "skips",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("rule_id", sa.Uuid(), nullable=True),
        sa.Column("rule_version", sa.Integer(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("action_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_skips")),
        sa.UniqueConstraint(
            "rule_id", "user_id", "cause", "reason", name=op.f("uq_skips_rule_id_user_id_cause_reason")
        ),
        schema="oracle",
    )
    op.create_index("ix_skips_user_id_at", "skips", ["user_id", "at"], unique=False, schema="oracle")
    op.create_table(
        "suppressions",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "channel", name=op.f("pk_suppressions")),
        schema="oracle",
    )
    op.create_table(
        "user_day_events",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("user_id", "day", "event", name=op.f("pk_user_day_events")),
        schema="oracle",
    )
    op.create_table(
        "user_days",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("events", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sessions", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seconds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("revenue", sa.Numeric(precision=12, scale=2), server_default="0", nullable=False),
        sa.Column("refunds", sa.Numeric(precision=12, scale=2), server_default="0", nullable=False),
        sa.Column("unpriced", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_acted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_acted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("login", sa.Integer(), server_default="0", nullable=False),
        sa.Column("logout", sa.Integer(), server_default="0", nullable=False),
        sa.Column("page_view", sa.Integer(), server_default="0", nullable=False),
        sa.Column("session_start", sa.Integer(), server_default="0", nullable=False),
        sa.Column("signup", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lesson_start", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lesson_complete", sa.Integer(), server_default="0", nullable=False),
        sa.Column("module_complete", sa.Integer(), server_default="0", nullable=False),
        sa.Column("course_complete", sa.Integer(), server_default="0", nullable=False),
        sa.Column("course_withdrawn", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quiz_pass", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quiz_fail", sa.Integer(), server_default="0", nullable=False),
        sa.Column("certificate_download", sa.Integer(), server_default="0", nullable=False),
        sa.Column("note_created", sa.Integer(), server_default="0", nullable=False),
        sa.Column("community_post", sa.Integer(), server_default="0", nullable=False),
        sa.Column("community_comment", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dm_sent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dm_read", sa.Integer(), server_default="0", nullable=False),
        sa.Column("email_sent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("email_open", sa.Integer(), server_default="0", nullable=False),
        sa.Column("email_click", sa.Integer(), server_default="0", nullable=False),
        sa.Column("purchase", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refund", sa.Integer(), server_default="0", nullable=False),
        sa.Column("upgrade", sa.Integer(), server_default="0", nullable=False),
        sa.Column("feedback_given", sa.Integer(), server_default="0", nullable=False),
        sa.Column("referral_shared", sa.Integer(), server_default="0", nullable=False),
        sa.Column("support_ticket", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h00", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h01", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h02", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h03", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h04", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h05", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h06", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h07", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h08", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h09", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h10", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h11", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h12", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h13", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h14", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h15", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h16", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h17", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h18", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h19", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h20", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h21", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h22", sa.Integer(), server_default="0", nullable=False),
        sa.Column("h23", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("user_id", "day", name=op.f("pk_user_days")),
        schema="oracle",
        postgresql_with={"fillfactor": 85},
    )
    op.create_index("ix_user_days_day", "user_days", ["day"], unique=False, schema="oracle")
    op.create_table(
        "user_lessons",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("course_id", sa.Text(), nullable=False),
        sa.Column("lesson_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "day", "course_id", "lesson_id", name=op.f("pk_user_lessons")),
        schema="oracle",
    )
    op.create_table(
        "user_tags",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "tag", name=op.f("pk_user_tags")),
        schema="oracle",
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("first_name", sa.Text(), nullable=True),
        sa.Column("last_name", sa.Text(), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("traits", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("consent", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("is_test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("baseline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        schema="oracle",
    )
    op.create_table(
        "watermarks",
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("stage", name=op.f("pk_watermarks")),
        schema="oracle",
    )
    op.create_table(
        "action_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("action_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("old_status", sa.Text(), nullable=True),
        sa.Column("new_status", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("shown_hash", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(["action_id"], ["oracle.actions.id"], name=op.f("fk_action_changes_action_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_changes")),
        schema="oracle",
    )
    op.create_index("ix_action_changes_action_id", "action_changes", ["action_id"], unique=False, schema="oracle")
    op.create_table(
        "lessons",
        sa.Column("course_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("module_id", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["course_id"], ["oracle.courses.id"], name=op.f("fk_lessons_course_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("course_id", "id", name=op.f("pk_lessons")),
        schema="oracle",
    )
    op.create_table(
        "rule_versions",
        sa.Column("rule_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["rule_id"], ["oracle.rules.id"], name=op.f("fk_rule_versions_rule_id")),
        sa.PrimaryKeyConstraint("rule_id", "version", name=op.f("pk_rule_versions")),
        schema="oracle",
    )
    for statement in _TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("The first migration is not undone; drop the database instead.")
