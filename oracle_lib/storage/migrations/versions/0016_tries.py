"""A try is counted when a message is handed over, and never forgotten: not when a person lets it be sent again either"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# As in 0011, but what was tried is told by the tries: a person who lets a message be sent again starts its times anew.
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
        IF OLD.status = 'approved' AND (NEW.status = 'cancelled' AND OLD.attempts > 0
            OR NEW.status = 'unknown' AND OLD.attempts = 0) THEN
            RAISE EXCEPTION 'an action cannot move from % to % that was % before', OLD.status, NEW.status,
                CASE WHEN OLD.attempts = 0 THEN 'not tried' ELSE 'tried' END
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
    """Take back the tries of claims that no message left, and replace the trigger's function."""
    op.execute("UPDATE oracle.actions SET attempts = 0 WHERE attempts > 0 AND channel IS NULL")
    op.execute(_MOVES)
