"""Time to take an approval back, the words that edits replaced, edits of groups, and stricter moves"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
MOMENT = sa.DateTime(timezone=True)

# As in 0001, and three lines more: other words are another version; what may have arrived is never called cancelled;
# and only of what may have arrived is it said that nobody knows.
_MOVES = """
    CREATE OR REPLACE FUNCTION oracle.refuse_illegal_move() RETURNS trigger LANGUAGE plpgsql AS $$
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
            'approved>unknown',
            'executing>executed', 'executing>approved', 'executing>unknown', 'executing>failed', 'executing>skipped',
            'unknown>executed', 'unknown>approved', 'unknown>failed'
        ]) THEN
            RAISE EXCEPTION 'an action cannot move from % to %', OLD.status, NEW.status
                USING ERRCODE = 'check_violation';
        END IF;
        IF OLD.status = 'approved' AND (NEW.status = 'cancelled' AND OLD.first_attempt_at IS NOT NULL
            OR NEW.status = 'unknown' AND OLD.first_attempt_at IS NULL) THEN
            RAISE EXCEPTION 'an action cannot move from % to % that was % before', OLD.status, NEW.status,
                CASE WHEN OLD.first_attempt_at IS NULL THEN 'not tried' ELSE 'tried' END
                USING ERRCODE = 'check_violation';
        END IF;
        IF (NEW.content, NEW.subject, NEW.content_hash) IS DISTINCT FROM (OLD.content, OLD.subject, OLD.content_hash)
        THEN
            IF OLD.status <> 'pending' THEN
                RAISE EXCEPTION 'only a pending action can be edited' USING ERRCODE = 'check_violation';
            END IF;
            IF NEW.version <= OLD.version THEN
                RAISE EXCEPTION 'other words are another version' USING ERRCODE = 'check_violation';
            END IF;
        END IF;
        IF NEW.status = 'executing' AND NEW.approved_hash IS DISTINCT FROM NEW.content_hash THEN
            RAISE EXCEPTION 'what is sent must be what was approved' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END $$
"""


def upgrade() -> None:
    """Add columns, tables and checks; what stands was written by its rule, in the rule's own language."""
    op.add_column("actions", sa.Column("language", sa.Text()), schema=SCHEMA)
    op.add_column("actions", sa.Column("group_edit_id", sa.Uuid()), schema=SCHEMA)
    op.add_column("actions", sa.Column("undo_until", MOMENT), schema=SCHEMA)
    op.create_check_constraint(
        op.f("ck_actions_policy"),
        "actions",
        "approved_by IS DISTINCT FROM 'policy' OR"
        " (rule_id IS NOT NULL AND version = 1 AND triggered_by <> 'ai_decision')",
        schema=SCHEMA,
    )
    op.create_table(
        "action_versions",
        sa.Column("action_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["action_id"], ["oracle.actions.id"], name=op.f("fk_action_versions_action_id")),
        sa.PrimaryKeyConstraint("action_id", "version", name=op.f("pk_action_versions")),
        schema=SCHEMA,
    )
    op.create_table(
        "group_edits",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("rule_id", sa.Uuid(), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("arm", sa.Text()),
        sa.Column("language", sa.Text()),
        sa.Column("subject", sa.Text()),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("edited_by", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group_edits")),
        schema=SCHEMA,
    )
    op.execute(_MOVES)
    op.execute(
        "CREATE TRIGGER action_versions_kept BEFORE UPDATE ON oracle.action_versions"
        " FOR EACH ROW EXECUTE FUNCTION oracle.refuse_rewriting_history()"
    )
