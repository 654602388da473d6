"""What customers are expected to pay"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SCHEMA = "oracle"
MONEY = sa.Numeric(12, 2)
NOW = sa.text("now()")


def upgrade() -> None:
    """Add the table; the next weekly run fills it if the forecast is earned."""
    op.create_table(
        "value_forecasts",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("horizon_days", sa.Integer(), nullable=False),
        sa.Column("expected", MONEY, nullable=False),
        sa.Column("lower", MONEY, nullable=False),
        sa.Column("upper", MONEY, nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("lower BETWEEN 0 AND upper", name=op.f("ck_value_forecasts_interval")),
        sa.CheckConstraint("expected >= 0", name=op.f("ck_value_forecasts_expected")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_value_forecasts")),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 45},
    )
