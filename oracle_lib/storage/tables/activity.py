"""Counts per user and day, and the sliding windows over them. All derived: they can be rebuilt, row for row.

A window of n days is a UTC day and the n - 1 before it. `acted` counts events the user did, never ones done to them.
"""

import sqlalchemy as sa

from oracle_lib.storage.tables.base import ROOM_FOR_MOST, ROOM_FOR_SOME, Money, metadata, moment

# The kinds that have a column of their own; every other name is counted in user_day_events.
# `observe/catalogue.py` says what each means; a test holds the two together.
EVENT_KINDS = (
    "login",
    "logout",
    "page_view",
    "session_start",
    "signup",
    "lesson_start",
    "lesson_complete",
    "module_complete",
    "course_complete",
    "course_withdrawn",
    "quiz_pass",
    "quiz_fail",
    "certificate_download",
    "note_created",
    "community_post",
    "community_comment",
    "dm_sent",
    "dm_read",
    "email_sent",
    "email_open",
    "email_click",
    "purchase",
    "refund",
    "upgrade",
    "feedback_given",
    "referral_shared",
    "support_ticket",
)

# What a user paid and got back, by day and in all.
MONEY = ("revenue", "refunds")
# What happens on few of a user's days.
RARE = (
    *MONEY,
    "signup",
    "course_complete",
    "course_withdrawn",
    "certificate_download",
    "purchase",
    "refund",
    "upgrade",
    "feedback_given",
    "referral_shared",
    "support_ticket",
)
# Measure -> the windows it is kept for, in days.
WINDOWS: dict[str, tuple[int, ...]] = {
    "acted": (1, 7, 30, 90),
    "active_days": (7, 30, 90),
    "login": (7, 30),
    "lesson_complete": (1, 7, 30, 90),
    "quiz_pass": (30,),
    "quiz_fail": (7, 30),
    "community": (30,),
    "seconds": (7, 30),
    "email_sent": (90,),
    "email_open": (90,),
    "email_click": (90,),
    "dm_sent": (90,),
    "dm_read": (90,),
}
LIFETIME_COUNTS = (
    "lesson_complete",
    "module_complete",
    "course_complete",
    "course_withdrawn",
    "purchase",
    "upgrade",
    "unpriced",
)
# Of so many days up to a user's last active one `active_bits` says which were active, the last as the lowest bit.
# It does not move with time, until the last has left a window of `BITS_KEPT` days: then it is 0.
BITS, BITS_KEPT = 28, 30
PROGRESS = ("course_id", "lessons_done", "lessons_in_course")


def _count(name: str) -> sa.Column:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _by_day(*others: str) -> tuple[sa.PrimaryKeyConstraint, sa.Index]:
    """Return the key of a table of days, and what finds those of a user.

    The day comes first: a new day then goes to the end of the large index, and the other is small.
    """
    return sa.PrimaryKeyConstraint("day", "user_id", *others), sa.Index(None, "user_id")


user_days = sa.Table(
    "user_days",
    metadata,
    sa.Column("user_id", sa.Text),
    sa.Column("day", sa.Date),
    _count("events"),
    _count("acted"),
    _count("sessions"),
    _count("seconds"),
    sa.Column("revenue", Money, nullable=False, server_default="0"),
    sa.Column("refunds", Money, nullable=False, server_default="0"),
    _count("unpriced"),
    moment("first_acted_at", nullable=True),
    moment("last_acted_at", nullable=True),
    *(_count(kind) for kind in EVENT_KINDS),
    *_by_day(),
    # Few days have one of these: what counts them need not read the others.
    sa.Index("ix_user_days_rare", "day", postgresql_where=sa.text(" OR ".join(f"{name} <> 0" for name in RARE))),
    postgresql_with=ROOM_FOR_SOME,
)

user_day_events = sa.Table(
    "user_day_events",
    metadata,
    sa.Column("user_id", sa.Text),
    sa.Column("day", sa.Date),
    sa.Column("event", sa.Text),
    _count("n"),
    *_by_day("event"),
)

# Which lessons a user completed on a day: progress counts distinct ones, long after the events are gone.
user_lessons = sa.Table(
    "user_lessons",
    metadata,
    sa.Column("user_id", sa.Text),
    sa.Column("day", sa.Date),
    sa.Column("course_id", sa.Text),
    sa.Column("lesson_id", sa.Text),
    *_by_day("course_id", "lesson_id"),
)

# What a user's days say of their habits, over all of them: `observe/habits.py`.
HABITS = (
    "mornings",
    "afternoons",
    "evenings",
    "emails_sent",
    "emails_answered",
    "dms_sent",
    "dms_answered",
    "pushes_sent",
    "pushes_answered",
    "visual",
    "audio",
    "reading",
    "doing",
)
habits = sa.Table(
    "habits",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    *(_count(name) for name in HABITS),
    postgresql_with=ROOM_FOR_SOME,
)

activity = sa.Table(
    "activity",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    # The first day with any event at all, and the first and last on which the user acted.
    sa.Column("first_seen_on", sa.Date),
    sa.Column("first_active_on", sa.Date),
    sa.Column("last_active_on", sa.Date),
    moment("last_active_at", nullable=True),
    sa.Column("last_lesson_on", sa.Date),
    sa.Column("last_course_complete_on", sa.Date),
    sa.Column("revenue", Money, nullable=False, server_default="0"),
    sa.Column("refunds", Money, nullable=False, server_default="0"),
    *(_count(f"{kind}_total") for kind in LIFETIME_COUNTS),
    *(_count(f"{measure}_{days}d") for measure, windows in WINDOWS.items() for days in windows),
    _count("active_bits"),
    # The course with the newest completed lesson, and how far the user is in it: PROGRESS.
    sa.Column("course_id", sa.Text),
    sa.Column("lessons_done", sa.Integer),
    sa.Column("lessons_in_course", sa.Integer),
    postgresql_with=ROOM_FOR_MOST,
)
