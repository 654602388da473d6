"""The people of the academy, every change of what is known of them, and the other ids they had."""

import sqlalchemy as sa
from sqlalchemy import ColumnElement

from oracle_lib.storage.tables.base import Json, metadata, moment, serial_id

# What a profile tells of itself in words that segments read: column -> trait.
TOLD = {"persona_told": "persona", "goal_told": "goal", "style_told": "learningStyle"}


def told(traits: ColumnElement, name: str) -> ColumnElement:
    """Return a trait's text; nothing where it is missing, empty or no text."""
    kind, text = sa.func.jsonb_typeof(traits.op("->")(name)), traits.op("->>")(name)
    return sa.case((kind == "string", sa.func.nullif(text, "")))


users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("email", sa.Text),
    sa.Column("first_name", sa.Text),
    sa.Column("last_name", sa.Text),
    sa.Column("time_zone", sa.Text),
    sa.Column("locale", sa.Text),
    moment("joined_at", nullable=True),
    sa.Column("traits", Json, nullable=False, server_default="{}"),
    # Channel -> true / false; a channel that is not named follows the installation's default.
    sa.Column("consent", Json, nullable=False, server_default="{}"),
    sa.Column("is_test", sa.Boolean, nullable=False, server_default=sa.false()),
    # Rules fire only on causes after this moment: an import of years of history proposes nothing.
    moment("baseline_at", nullable=True),
    moment("created_at", default_now=True),
    moment("updated_at", default_now=True),
    # Read of everybody each day, so worked out once, when the profile is written: UTC days, and what traits tell.
    sa.Column("joined_on", sa.Date, sa.Computed("(joined_at AT TIME ZONE 'UTC')::date", persisted=True)),
    sa.Column("made_on", sa.Date, sa.Computed("(created_at AT TIME ZONE 'UTC')::date", persisted=True)),
    *(
        sa.Column(column, sa.Text, sa.Computed(told(sa.literal_column("traits"), trait), persisted=True))
        for column, trait in TOLD.items()
    ),
)

profile_changes = sa.Table(
    "profile_changes",
    metadata,
    serial_id(),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("field", sa.Text, nullable=False),
    sa.Column("old", Json),
    sa.Column("new", Json),
    sa.Column("source", sa.Text, nullable=False),
    moment("changed_at", default_now=True),
    sa.Index("ix_profile_changes_user_id_changed_at", "user_id", "changed_at"),
)

# Ids that turned out to be somebody's: what comes under `previous_id` belongs to `user_id`. Never a chain: no user_id
# is a previous_id too.
aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("previous_id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    moment("made_at", default_now=True),
    sa.Index("ix_aliases_user_id", "user_id"),
)
