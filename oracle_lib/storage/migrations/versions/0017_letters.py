"""What mailboxes show beside an e-mail's subject, and whom its footer is written for"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

SCHEMA = "oracle"


def upgrade() -> None:
    """Add the preheader wherever words are kept, and the locale to actions; what stands has neither."""
    for table in ("actions", "action_versions", "group_edits"):
        op.add_column(table, sa.Column("preheader", sa.Text()), schema=SCHEMA)
    op.add_column("actions", sa.Column("locale", sa.Text()), schema=SCHEMA)
