"""Days and words of a profile that segments read are worked out when it is written, not of everybody each day

The table is written anew once: seconds for hundreds of thousands of users.
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_DAYS = {"joined_on": "joined_at", "made_on": "created_at"}
_WORDS = {"persona_told": "persona", "goal_told": "goal", "style_told": "learningStyle"}
_TEXT = "CASE WHEN jsonb_typeof(traits -> '{trait}') = 'string' THEN nullif(traits ->> '{trait}', '') END"


def upgrade() -> None:
    """Add the generated columns, all at once."""
    made = {name: ("date", f"({moment} AT TIME ZONE 'UTC')::date") for name, moment in _DAYS.items()}
    made |= {name: ("text", _TEXT.format(trait=trait)) for name, trait in _WORDS.items()}
    added = (f"ADD COLUMN {name} {kind} GENERATED ALWAYS AS ({value}) STORED" for name, (kind, value) in made.items())
    op.execute(f"ALTER TABLE oracle.users {', '.join(added)}")
