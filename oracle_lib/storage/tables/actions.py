"""Actions and the moves they may make, each move's history, what was delivered and what came of it.

The migration adds a trigger that refuses every move that `LEGAL_MOVES` does not name.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.storage.tables.base import Json, metadata, moment, serial_id, uuid_id

ACTION_TYPES = ("email", "dm", "push", "post", "alert")

LEGAL_MOVES: dict[str, frozenset[str]] = {
    "pending": frozenset({"approved", "rejected", "expired", "superseded", "executed"}),
    "approved": frozenset({"executing", "pending", "cancelled", "expired", "executed", "unknown"}),
    "executing": frozenset({"executed", "approved", "unknown", "failed", "skipped"}),
    "unknown": frozenset({"executed", "approved", "failed"}),
    "executed": frozenset(),
    "failed": frozenset(),
    "skipped": frozenset(),
    "rejected": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
    "superseded": frozenset(),
}
ACTION_STATUSES = tuple(LEGAL_MOVES)


def _one_of(column: str, words: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


def _of_known(known: str, *columns: str, unique: bool = False) -> sa.Index:
    """Return an index of those actions that have a value in the column `known`: most are proposals, which lack it."""
    name = f"{'uq' if unique else 'ix'}_actions_{'_'.join(columns)}"
    return sa.Index(name, *columns, unique=unique, postgresql_where=sa.text(f"{known} IS NOT NULL"))


actions = sa.Table(
    "actions",
    metadata,
    uuid_id(),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("action_type", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="pending"),
    sa.Column("priority", sa.Integer, nullable=False, server_default="5"),
    # Content.
    sa.Column("template", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("content", sa.Text, nullable=False),
    # What mailboxes show beside an e-mail's subject; none: the first words of the content.
    sa.Column("preheader", sa.Text),
    # The user's own when it was proposed, which an e-mail's footer is written for.
    sa.Column("locale", sa.Text),
    # The community of a post, the team of an alert.
    sa.Column("address", sa.Text),
    sa.Column("metadata", Json),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    # The tag of the rule's other language that the words are in; none: the rule's own.
    sa.Column("language", sa.Text),
    # The edit of a group that the words come from; none: the rule, or whoever edited this action alone.
    sa.Column("group_edit_id", sa.Uuid),
    sa.Column("message_class", sa.Text, nullable=False, server_default="marketing"),
    # What its rule is about, as the user knows it: they may want no more of just that.
    sa.Column("topic", sa.Text),
    # Why it exists. `cause` names what a rule answers: once per cause, across versions of the rule.
    sa.Column("triggered_by", sa.Text, nullable=False),
    sa.Column("trigger_data", Json),
    sa.Column("rule_id", sa.Uuid),
    sa.Column("rule_version", sa.Integer),
    sa.Column("cause", sa.Text),
    # The arm of the rule's experiment that the user was in, where there is one.
    sa.Column("experiment_id", sa.Uuid),
    sa.Column("arm", sa.Text),
    # What was approved is what is sent: the payload is frozen with its hash.
    sa.Column("approved_by", sa.Text),
    moment("approved_at", nullable=True),
    sa.Column("approved_hash", sa.Text),
    sa.Column("payload", pg.BYTEA),
    # Until then no executor takes what was approved.
    moment("undo_until", nullable=True),
    # Execution.
    moment("scheduled_at", nullable=True),
    moment("expires_at", nullable=True),
    moment("next_attempt_at", nullable=True),
    moment("first_attempt_at", nullable=True),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lease_owner", sa.Text),
    moment("lease_until", nullable=True),
    sa.Column("channel", sa.Text),
    sa.Column("provider_id", sa.Text),
    sa.Column("sent_hash", sa.Text),
    moment("executed_at", nullable=True),
    sa.Column("reason", sa.Text),
    moment("created_at", default_now=True),
    moment("updated_at", default_now=True),
    _one_of("action_type", ACTION_TYPES),
    _one_of("status", ACTION_STATUSES),
    sa.CheckConstraint("priority BETWEEN 1 AND 10", name="priority"),
    # A policy approves what a rule says word for word, never what somebody edited or an AI wrote.
    sa.CheckConstraint(
        "approved_by IS DISTINCT FROM 'policy' OR"
        " (rule_id IS NOT NULL AND version = 1 AND triggered_by <> 'ai_decision')",
        name="policy",
    ),
    sa.UniqueConstraint("rule_id", "user_id", "cause"),
    sa.Index("ix_actions_user_id_status", "user_id", "status"),
    sa.Index("ix_actions_status_scheduled_at", "status", "scheduled_at"),
    sa.Index("ix_actions_action_type_created_at", "action_type", "created_at"),
    # What was sent in the last hour on a channel, and by a version of a rule.
    _of_known("first_attempt_at", "action_type", "first_attempt_at"),
    _of_known("first_attempt_at", "rule_id", "rule_version", "first_attempt_at"),
    _of_known("executed_at", "executed_at"),
    _of_known("provider_id", "channel", "provider_id", unique=True),
)

# One row a move, written in the move's own transaction.
action_changes = sa.Table(
    "action_changes",
    metadata,
    serial_id(),
    sa.Column("action_id", sa.Uuid, sa.ForeignKey(actions.c.id), nullable=False),
    moment("at", default_now=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("old_status", sa.Text),
    sa.Column("new_status", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # The hash of what the actor was shown; none: they answered without naming what they saw.
    sa.Column("shown_hash", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("detail", Json),
    sa.Index("ix_action_changes_action_id", "action_id"),
)

# The words that an edit replaced; the newest stand in `actions`. Never changed.
action_versions = sa.Table(
    "action_versions",
    metadata,
    sa.Column("action_id", sa.Uuid, sa.ForeignKey(actions.c.id), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("subject", sa.Text),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("preheader", sa.Text),
    sa.Column("content_hash", sa.Text, nullable=False),
)

# The templates that took the place of a rule's own for everybody for whom one of its messages was pending.
group_edits = sa.Table(
    "group_edits",
    metadata,
    uuid_id(),
    sa.Column("rule_id", sa.Uuid, nullable=False),
    sa.Column("rule_version", sa.Integer, nullable=False),
    sa.Column("arm", sa.Text),
    sa.Column("language", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("preheader", sa.Text),
    sa.Column("edited_by", sa.Text, nullable=False),
    moment("at", default_now=True),
)

# What the channel `outbox` delivered, and what users read in the product's inbox: kept as it was sent.
messages = sa.Table(
    "messages",
    metadata,
    uuid_id(),
    sa.Column("action_id", sa.Uuid, nullable=False, unique=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("action_type", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False, unique=True),
    sa.Column("subject", sa.Text),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("payload", pg.BYTEA, nullable=False),
    moment("delivered_at", default_now=True),
    moment("read_at", nullable=True),
    sa.Index("ix_messages_user_id_delivered_at", "user_id", "delivered_at"),
)

# opened, clicked, replied, converted and the rest: the first of each kind an action had.
outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("action_id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    moment("at"),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text),
    sa.Column("amount", sa.Numeric(12, 2)),
    moment("recorded_at", default_now=True),
    sa.CheckConstraint(
        "kind IN ('delivered', 'opened', 'clicked', 'replied', 'converted', 'bounced', 'complained', 'unsubscribed',"
        " 'dropped', 'machine_opened', 'machine_clicked')",
        name="kind",
    ),
)

# Who gets nothing on a channel, or on `all`; where the reason is `unsubscribed` or `paused`, no marketing.
suppressions = sa.Table(
    "suppressions",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    moment("at", default_now=True),
    # A pause ends by itself; nothing else does.
    moment("until", nullable=True),
)

# Who gets no marketing about a topic on a channel.
refused_topics = sa.Table(
    "refused_topics",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("topic", sa.Text, primary_key=True),
    moment("at", default_now=True),
)

# Who gets at most one marketing message a week on a channel.
fewer_wanted = sa.Table(
    "fewer_wanted",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    moment("at", default_now=True),
)

# While a row stands nothing is sent, at all or on a channel; what is approved waits.
sending_stops = sa.Table(
    "sending_stops",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("stopped_by", sa.Text, nullable=False),
    moment("at", default_now=True),
    _one_of("scope", ("all", *ACTION_TYPES)),
)
