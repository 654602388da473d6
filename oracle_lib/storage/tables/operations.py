"""Work in progress and its products: imports, asked-for runs, insights and reports."""

import sqlalchemy as sa

from oracle_lib.storage.tables.base import Json, metadata, moment, uuid_id

# A file is known by the hash of its content; `rows_done` is where to go on after an interruption.
imports = sa.Table(
    "imports",
    metadata,
    uuid_id(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("content_sha256", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("rows_done", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("accepted", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("duplicate", sa.BigInteger, nullable=False, server_default="0"),
    # Reason -> how many rows were refused for it.
    sa.Column("rejected", Json, nullable=False, server_default="{}"),
    sa.Column("first_day", sa.Date),
    sa.Column("last_day", sa.Date),
    moment("started_at", default_now=True),
    moment("finished_at", nullable=True),
)

# What the panel or the API asks Dagster to do; the sensor `run_requests` starts it and writes back.
run_requests = sa.Table(
    "run_requests",
    metadata,
    uuid_id(),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("parameters", Json, nullable=False, server_default="{}"),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="requested"),
    sa.Column("run_id", sa.Text),
    sa.Column("detail", sa.Text),
    moment("created_at", default_now=True),
    moment("updated_at", default_now=True),
    sa.CheckConstraint("status IN ('requested', 'started', 'succeeded', 'failed')", name="status"),
)

insights = sa.Table(
    "insights",
    metadata,
    uuid_id(),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("confidence", sa.Integer),
    sa.Column("metadata", Json),
    sa.Column("status", sa.Text, nullable=False, server_default="new"),
    # What the insight is about and the week it was seen in: the same finding is one row.
    sa.Column("cause", sa.Text, unique=True),
    moment("created_at", default_now=True),
    sa.CheckConstraint("type IN ('hypothesis', 'observation', 'recommendation')", name="type"),
    sa.CheckConstraint("status IN ('new', 'reviewed', 'implemented', 'rejected')", name="status"),
    sa.CheckConstraint("confidence BETWEEN 0 AND 100", name="confidence"),
)

# One row a week and kind, named by its Sunday; made again when the week is re-materialized.
reports = sa.Table(
    "reports",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("week", sa.Date, primary_key=True),
    sa.Column("figures", Json, nullable=False),
    sa.Column("markdown", sa.Text, nullable=False),
    moment("made_at", default_now=True),
)
