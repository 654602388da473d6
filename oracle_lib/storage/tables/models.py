"""The models, what they say of each user, what they said before, and the answers to what is asked of all of it.

Probabilities are floats 0-1; the wire rounds to 0-100.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.storage.tables.base import ROOM_FOR_ALL, Json, Money, metadata, moment, uuid_id

models = sa.Table(
    "models",
    metadata,
    uuid_id(),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    # The formula, and its SHA-256: what was measured is what scores.
    sa.Column("parameters", Json, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("features", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("trained_from", sa.Date, nullable=False),
    sa.Column("trained_to", sa.Date, nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("note", sa.Text),
    moment("created_at", default_now=True),
    sa.UniqueConstraint("target", "version"),
    sa.CheckConstraint("status IN ('promoted', 'held', 'retired')", name="status"),
    # One standing model a target.
    sa.Index("uq_models_promoted", "target", unique=True, postgresql_where=sa.text("status = 'promoted'")),
)

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("model_id", sa.Uuid, nullable=False),
    moment("created_at", default_now=True),
    moment("updated_at", default_now=True),
    sa.CheckConstraint("probability BETWEEN 0 AND 1", name="probability"),
    postgresql_with=ROOM_FOR_ALL,
)

# Scores as they were given, of some users once a week: to be held against what happened.
past_scores = sa.Table(
    "past_scores",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("model_id", sa.Uuid, nullable=False),
)

# The last answer to each question that is asked of what was worked out; `target`: the model it is asked of.
checks = sa.Table(
    "checks",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("target", sa.Text),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("as_of", sa.Date, nullable=False),
    moment("checked_at", nullable=False),
)

# What each customer is expected to pay in the days after `as_of`. Rows stand only while a model `ltv` is promoted.
value_forecasts = sa.Table(
    "value_forecasts",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("as_of", sa.Date, nullable=False),
    sa.Column("horizon_days", sa.Integer, nullable=False),
    sa.Column("expected", Money, nullable=False),
    sa.Column("lower", Money, nullable=False),
    sa.Column("upper", Money, nullable=False),
    sa.Column("model_id", sa.Uuid, nullable=False),
    moment("created_at", default_now=True),
    moment("updated_at", default_now=True),
    # No bounds for `expected`: the mean of many who pay nothing and a few who pay much lies above most of them.
    sa.CheckConstraint("lower BETWEEN 0 AND upper", name="interval"),
    sa.CheckConstraint("expected >= 0", name="expected"),
    postgresql_with=ROOM_FOR_ALL,
)
