"""What Segment's senders call things, and what ORACLE calls them: events of the catalogue and fields of metadata."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping

from oracle_lib.observe import catalogue

# In snake_case, so that "Lesson Completed", "lessonCompleted" and "lesson-completed" are one.
CATALOGUE: dict[str, str] = {
    "signed_in": "login",
    "logged_in": "login",
    "user_logged_in": "login",
    "signed_out": "logout",
    "logged_out": "logout",
    "application_opened": "session_start",
    "session_started": "session_start",
    "signed_up": "signup",
    "user_signed_up": "signup",
    "account_created": "signup",
    "page_viewed": "page_view",
    "lesson_started": "lesson_start",
    "lesson_completed": "lesson_complete",
    "module_completed": "module_complete",
    "course_completed": "course_complete",
    "course_withdrawn": "course_withdrawn",
    "course_unenrolled": "course_withdrawn",
    "quiz_passed": "quiz_pass",
    "quiz_failed": "quiz_fail",
    "certificate_downloaded": "certificate_download",
    "community_post_created": "community_post",
    "post_created": "community_post",
    "community_comment_created": "community_comment",
    "comment_created": "community_comment",
    "message_sent": "dm_sent",
    "message_read": "dm_read",
    "email_sent": "email_sent",
    "email_delivered": "email_sent",
    "email_opened": "email_open",
    "email_link_clicked": "email_click",
    "email_clicked": "email_click",
    "order_completed": "purchase",
    "product_purchased": "purchase",
    "order_refunded": "refund",
    "subscription_upgraded": "upgrade",
    "plan_upgraded": "upgrade",
    "account_upgraded": "upgrade",
    "feedback_submitted": "feedback_given",
    "invite_sent": "referral_shared",
    "support_ticket_created": "support_ticket",
    "support_ticket_opened": "support_ticket",
}

# Fields that ORACLE reads, by their letters alone: course_id, courseID and "Course Id" are all courseId.
_FIELDS = {name.lower(): name for kind in catalogue.KINDS.values() for name in kind.reads} | {"sessionid": "sessionId"}
_NO_LETTER = re.compile(r"[^a-z0-9]+")
_WORD_STARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")
_LONGEST = 100


def ours(name: str, renamed: Mapping[str, str]) -> str:
    """Return ORACLE's name of an event: what the installation says, the catalogue's, or the name in snake_case."""
    plain = snake(name)
    return renamed.get(name) or renamed.get(plain) or CATALOGUE.get(plain, plain)


def snake(name: str) -> str:
    """Put a name into snake_case. One in another script gets a name made of its hash, always the same one."""
    plain = unicodedata.normalize("NFKD", name)
    if any(letter.isalnum() and not letter.isascii() for letter in plain) or not any(map(str.isalnum, plain)):
        return f"event_{hashlib.blake2b(name.encode('utf-8', 'replace'), digest_size=4).hexdigest()}"
    words = _NO_LETTER.sub("_", _WORD_STARTS.sub("_", plain.encode("ascii", "ignore").decode()).lower()).strip("_")
    return (words if words[0].isalpha() else f"event_{words}")[:_LONGEST].rstrip("_")


def normalized(properties: Mapping[str, object]) -> dict[str, object]:
    """Return properties with the fields that ORACLE reads under its own names; a field that is named right wins."""
    facts: dict[str, object] = {}
    for key, value in properties.items():
        name = field_name(key)
        facts[key if name in properties else name] = value
    return facts


def field_name(key: str) -> str:
    """Return ORACLE's name of a field, or `key` for one it does not read."""
    return _FIELDS.get(letters(key), key)


def letters(key: str) -> str:
    """Return the letters and digits of a key, in lower case."""
    return _NO_LETTER.sub("", key.lower())
