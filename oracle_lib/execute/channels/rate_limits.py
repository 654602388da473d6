"""What a provider's headers say of its limit: how long nothing may be sent, and how much in each span after that.

Resend speaks the IETF draft (`ratelimit-limit`, `-remaining`, and `-reset` in seconds from now), SendGrid its own
(`x-ratelimit-*`, where `-reset` is a moment in seconds since 1970, by the clock of its `date`). `retry-after` of a 429
goes before both.
"""

from collections.abc import Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime

from oracle_lib.execute.channels.protocol import Pause

LONGEST = timedelta(hours=1)
# After a 429 that does not say how long; and after one that says to come back at once.
_UNSAID = timedelta(seconds=1)
_SHORTEST = timedelta(seconds=0.1)


def when_spent(headers: Mapping[str, str]) -> Pause | None:
    """Return the pause after an answer that was the last of its span; None while there is room, or nothing is said."""
    if _number(headers, "ratelimit-remaining") != 0 and _number(headers, "x-ratelimit-remaining") != 0:
        return None
    span = _until_reset(headers)
    return None if span is None else Pause(span, _most(headers))


def when_refused(headers: Mapping[str, str]) -> Pause:
    """Return the pause that a 429 asks for, at most an hour; dates and nonsense count as unsaid."""
    asked = _number(headers, "retry-after")
    span = _until_reset(headers) if asked is None else timedelta(seconds=asked)
    return Pause(_UNSAID if span is None else min(max(span, _SHORTEST), LONGEST), _most(headers))


def _until_reset(headers: Mapping[str, str]) -> timedelta | None:
    seconds, moment = _number(headers, "ratelimit-reset"), _number(headers, "x-ratelimit-reset")
    if seconds is None and moment is not None and (now := _date(headers)) is not None:
        seconds = max(0, moment - now)
    return None if seconds is None else min(timedelta(seconds=seconds), LONGEST)


def _most(headers: Mapping[str, str]) -> int | None:
    return _number(headers, "ratelimit-limit") or _number(headers, "x-ratelimit-limit") or None


def _date(headers: Mapping[str, str]) -> int | None:
    """Return the provider's own time when it answered, in seconds since 1970."""
    try:
        return int(parsedate_to_datetime(headers.get("date", "")).timestamp())
    except ValueError:
        return None


def _number(headers: Mapping[str, str], name: str) -> int | None:
    said = headers.get(name, "").strip()
    return int(said[:12]) if said.isascii() and said.isdigit() else None
