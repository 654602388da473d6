"""The people of the academy, every change of what is known of them, and the other ids they had."""

import sqlalchemy as sa

from oracle_lib.storage.tables.base import Json, metadata, moment, serial_id

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
