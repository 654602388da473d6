"""Models as formulas with a digest; the recency curves of before become formulas too"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = "oracle"


def upgrade() -> None:
    """Add the digest and bring the models that stand to the new form."""
    op.add_column("models", sa.Column("digest", sa.Text(), nullable=False, server_default=""), schema=SCHEMA)
    op.execute(
        """
        UPDATE oracle.models SET kind = 'recency', parameters = jsonb_build_object(
            'kind', 'recency',
            'horizon_days', parameters -> 'horizon_days',
            'calibration', jsonb_build_object('level', 0.0, 'steepness', 1.0),
            'parts', jsonb_build_array(jsonb_build_object('curve', parameters - 'horizon_days')))
         WHERE kind = 'recency_logistic'
        """
    )
    op.execute("UPDATE oracle.models SET digest = encode(sha256(convert_to(parameters::text, 'UTF8')), 'hex')")
    op.alter_column("models", "digest", server_default=None, schema=SCHEMA)
