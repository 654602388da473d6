"""The academy's courses and lessons: what progress is measured against."""

import sqlalchemy as sa

from oracle_lib.storage.tables.base import Money, metadata, moment

courses = sa.Table(
    "courses",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("price", Money),
    sa.Column("starts_on", sa.Date),
    sa.Column("ends_on", sa.Date),
    moment("updated_at", default_now=True),
)

lessons = sa.Table(
    "lessons",
    metadata,
    sa.Column("course_id", sa.Text, sa.ForeignKey(courses.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("module_id", sa.Text),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
)
