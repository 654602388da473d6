"""The temporary table of one run: whom each rule would reach and for which cause, until guardrails have been asked."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

# `experiment_id` and `arm` are filled in by experiments, `reason` by both of them and guardrails.
candidates = sa.Table(
    "candidates",
    sa.MetaData(),
    sa.Column("rule_id", sa.Uuid),
    sa.Column("rule_version", sa.Integer),
    sa.Column("user_id", sa.Text),
    sa.Column("cause", sa.Text),
    sa.Column("fired", pg.JSONB),
    sa.Column("action_type", sa.Text),
    sa.Column("message_class", sa.Text),
    sa.Column("topic", sa.Text),
    sa.Column("priority", sa.Integer),
    sa.Column("cooldown", sa.Integer),
    sa.Column("max_per_user", sa.Integer),
    sa.Column("experiment_id", sa.Uuid),
    sa.Column("arm", sa.Text),
    sa.Column("reason", sa.Text),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)
