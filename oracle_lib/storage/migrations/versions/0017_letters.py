"""What mailboxes show beside an e-mail's subject"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

SCHEMA = "oracle"


def upgrade() -> None:
    """Add the preheader wherever words are kept; what stands has none."""
    for table in ("actions", "action_versions", "group_edits"):
        op.add_column(table, sa.Column("preheader", sa.Text()), schema=SCHEMA)
