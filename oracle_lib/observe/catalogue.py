"""The events ORACLE knows by name: who acted, and what it reads from their metadata.

Any other snake_case name is accepted and counted too. Source: SPEC section 4, ORACLE_EVENTS, plus `signup`,
`course_withdrawn` and `session_start`, which sources without a login need.
"""

import re
from dataclasses import dataclass

NAME_PATTERN = "^[a-z][a-z0-9_]{0,99}$"
_NAME = re.compile(NAME_PATTERN.strip("^$"))


@dataclass(frozen=True)
class Kind:
    """One known event.

    `acted`: the user did it, so it counts as activity; false for what was done to them or what a mail program may do
    by itself. `reads`: the metadata fields ORACLE understands, see `docs/api.md`.
    """

    name: str
    acted: bool
    reads: tuple[str, ...] = ()


_LESSON = ("lessonId", "moduleId", "courseId", "timeSpent")
_EMAIL = ("emailId", "template", "subject")
_MONEY = ("amount", "currency", "courseId")

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("login", acted=True, reads=("device",)),
        Kind("logout", acted=True),
        Kind("page_view", acted=True, reads=("device", "timeSpent")),
        Kind("session_start", acted=True, reads=("device",)),
        Kind("signup", acted=True, reads=("courseId",)),
        Kind("lesson_start", acted=True, reads=_LESSON),
        Kind("lesson_complete", acted=True, reads=_LESSON),
        Kind("module_complete", acted=True, reads=("moduleId", "courseId")),
        Kind("course_complete", acted=True, reads=("courseId",)),
        Kind("course_withdrawn", acted=False, reads=("courseId",)),
        Kind("quiz_pass", acted=True, reads=_LESSON),
        Kind("quiz_fail", acted=True, reads=_LESSON),
        Kind("certificate_download", acted=True, reads=("courseId",)),
        Kind("note_created", acted=True, reads=("lessonId", "courseId")),
        Kind("community_post", acted=True),
        Kind("community_comment", acted=True),
        Kind("dm_sent", acted=False),
        Kind("dm_read", acted=True),
        Kind("email_sent", acted=False, reads=_EMAIL),
        Kind("email_open", acted=False, reads=_EMAIL),
        Kind("email_click", acted=False, reads=_EMAIL),
        Kind("purchase", acted=True, reads=_MONEY),
        Kind("refund", acted=False, reads=_MONEY),
        Kind("upgrade", acted=True, reads=_MONEY),
        Kind("feedback_given", acted=True),
        Kind("referral_shared", acted=True),
        Kind("support_ticket", acted=True),
    )
}

ACTED = tuple(kind.name for kind in KINDS.values() if kind.acted)
PASSIVE = tuple(kind.name for kind in KINDS.values() if not kind.acted)
PRICED = tuple(kind.name for kind in KINDS.values() if "amount" in kind.reads)
TIMED = tuple(kind.name for kind in KINDS.values() if "timeSpent" in kind.reads)
# In which form somebody learned: names without a column of their own, which count as no activity.
STYLES = {"video_watched": "visual", "audio_played": "audio", "article_read": "reading", "exercise_done": "doing"}
COMMUNITY = ("community_post", "community_comment")


def is_valid_name(name: str) -> bool:
    """Say whether an event may be called so: snake_case, at most 100 characters."""
    return _NAME.fullmatch(name) is not None
