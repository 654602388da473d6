"""One event as it comes over the wire, checked: every refusal names the field, the reason and the fix.

Nothing here touches the database. The specification's body is `userId, event, metadata?, source?`; we add `sessionId?`,
`timestamp?` (when it happened) and `messageId?` (what makes a repeat recognizable).
"""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated

import msgspec

from oracle_lib.errors import Invalid
from oracle_lib.observe import catalogue

# What Segment's messages name as their source.
SEGMENT = "segment"
MAX_ID = 200
MAX_METADATA_BYTES = 32 * 1024
MAX_DEPTH = 32
MAX_KEYS = 255
AHEAD = timedelta(minutes=5)
LATE = timedelta(days=30)
_MAX_AMOUNT = Decimal("9999999999.99")
_MAX_SECONDS = 7 * 24 * 3600
# Nearly every id: 1 to 200 visible ASCII characters.
_ORDINARY = re.compile(r"[!-~]{1,200}").fullmatch
# Escapes that JSON allows and PostgreSQL's text cannot hold.
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


class WireEvent(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of one event. Types are strict: the string "5" is not a number."""

    user_id: str
    event: str
    metadata: dict[str, object] | None = None
    source: str | None = None
    session_id: str | None = None
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    message_id: str | None = None


class Event(msgspec.Struct, frozen=True):
    """An event that may be stored. Times are UTC; `message_id` is None where the client gave none."""

    user_id: str
    event: str
    metadata: str | None
    source: str | None
    session_id: str | None
    created_at: datetime
    message_id: str | None
    amount: Decimal | None
    seconds: int | None
    course_id: str | None
    lesson_id: str | None
    body_hash: bytes

    @property
    def day(self) -> date:
        """The UTC day it counts for."""
        return self.created_at.date()

    @property
    def happened(self) -> "Event":
        """The event itself."""
        return self


@dataclass(frozen=True)
class Limits:
    """What a door accepts: the installation's currency, and how old an event may be (None: any age)."""

    currency: str
    late: timedelta | None = LATE
    internal: bool = False


_decoder = msgspec.json.Decoder(WireEvent)
_encoder = msgspec.json.Encoder(order="deterministic")


def parse(raw: bytes, received_at: datetime, limits: Limits) -> Event:
    """Check one event's JSON and return it ready to be stored.

    Raises `Invalid` with `code` and `field` for anything that is not acceptable; the text says how to mend it.
    """
    try:
        body = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise wrong_shape(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The event is not valid JSON: {error}.", code="malformed_json") from error
    if body.metadata is not None and not _surely_shallow(raw):
        _walk("metadata", body.metadata)
    return _checked(body, received_at, limits)


def check(body: WireEvent, received_at: datetime, limits: Limits) -> Event:
    """Check an event that was put together out of another form. Raises `Invalid` as `parse` does."""
    if body.metadata is not None:
        _walk("metadata", body.metadata)
    return _checked(body, received_at, limits)


def _surely_shallow(raw: bytes) -> bool:
    """Say whether an event's JSON cannot be too deep or too wide, nor hold a NUL: most cannot, and are not walked."""
    return b"\\u0000" not in raw and raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH and raw.count(b":") <= MAX_KEYS


def _checked(body: WireEvent, received_at: datetime, limits: Limits) -> Event:
    check_id("userId", body.user_id)
    for name, value in (("sessionId", body.session_id), ("messageId", body.message_id), ("source", body.source)):
        if value is not None and not _ORDINARY(value):
            check_id(name, value)
    if not catalogue.is_valid_name(body.event):
        raise Invalid(
            f"`event` must be snake_case, start with a letter and have at most 100 characters, e.g. `lesson_complete`; "
            f"got {body.event[:60]!r}.",
            field="event",
            code="bad_event_name",
        )
    if body.source == "oracle" and not limits.internal:
        raise Invalid(
            "`source` oracle is reserved for ORACLE's own deliveries.", field="source", code="reserved_source"
        )
    facts = body.metadata or {}
    encoded = None if body.metadata is None else _encoded("metadata", body.metadata)
    return Event(
        user_id=body.user_id,
        event=body.event,
        metadata=encoded,
        source=body.source,
        session_id=body.session_id,
        created_at=_created_at(body.timestamp, received_at, limits),
        message_id=body.message_id,
        amount=_amount(facts, limits.currency) if body.event in catalogue.PRICED else None,
        seconds=_seconds(facts) if body.event in catalogue.TIMED else None,
        course_id=_reference(facts, "courseId"),
        lesson_id=_reference(facts, "lessonId"),
        body_hash=hashlib.blake2b(_encoder.encode(body), digest_size=16).digest(),
    )


def wrong_shape(message: str) -> Invalid:
    """Return the refusal of a body whose types are wrong, with the field that the decoder's `message` names."""
    place = re.search(r"at `\$\.(\w+)", message) or re.search(r"field `(\w+)`", message)
    return Invalid(f"{message}.", field=place.group(1) if place else None, code="wrong_type")


def check_id(name: str, value: str) -> None:
    """Refuse an id that is empty, longer than 200 characters or cannot be stored. `name` is the wire's name of it."""
    if _ORDINARY(value):
        return
    if not value.strip():
        raise Invalid(f"`{name}` must not be empty.", field=name, code="empty_id")
    if len(value) > MAX_ID:
        raise Invalid(f"`{name}` has {len(value)} characters; at most {MAX_ID}.", field=name, code="long_id")
    if _FORBIDDEN.search(value):
        raise Invalid(f"`{name}` holds a NUL or half a surrogate pair; remove it.", field=name, code="bad_character")


def encode_facts(name: str, facts: dict[str, object] | None) -> str | None:
    """Return a JSON object in the form in which it is stored; refuse what PostgreSQL or a reader could not take.

    At most 32 levels, 255 keys an object and 32 KB; no NUL, no half surrogate pair, no number that is not finite.
    """
    if facts is None:
        return None
    _walk(name, facts)
    return _encoded(name, facts)


def _walk(name: str, facts: dict[str, object]) -> None:
    for key_or_text in _texts(name, facts, depth=1):
        if _FORBIDDEN.search(key_or_text):
            raise Invalid(
                f"`{name}` holds a NUL or half a surrogate pair; remove it.", field=name, code="bad_character"
            )


def _encoded(name: str, facts: dict[str, object]) -> str:
    try:
        encoded = _encoder.encode(facts)
    except OverflowError as error:
        raise Invalid(f"`{name}` holds a number that is too large.", field=name, code="bad_number") from error
    if len(encoded) > MAX_METADATA_BYTES:
        raise Invalid(f"`{name}` has {len(encoded)} bytes; at most {MAX_METADATA_BYTES}.", field=name, code="too_large")
    return encoded.decode()


def _texts(name: str, value: object, depth: int) -> Iterator[str]:
    """Yield every string of a JSON value; refuse what is too deep, too wide, or no finite number."""
    if depth > MAX_DEPTH:
        raise Invalid(f"`{name}` is nested deeper than {MAX_DEPTH}.", field=name, code="too_deep")
    match value:
        case str():
            yield value
        case float() if not math.isfinite(value):
            raise Invalid(f"`{name}` holds a number that is not finite.", field=name, code="bad_number")
        case dict():
            if len(value) > MAX_KEYS:
                raise Invalid(
                    f"`{name}` has an object of {len(value)} keys; at most {MAX_KEYS}.",
                    field=name,
                    code="too_many_keys",
                )
            for key, item in value.items():
                yield key
                yield from _texts(name, item, depth + 1)
        case list():
            for item in value:
                yield from _texts(name, item, depth + 1)


def _created_at(timestamp: datetime | None, received_at: datetime, limits: Limits) -> datetime:
    if timestamp is None:
        return received_at
    try:
        moment = timestamp.astimezone(UTC)
    except OverflowError as error:
        raise Invalid("`timestamp` is out of range.", field="timestamp", code="bad_timestamp") from error
    if moment > received_at + AHEAD:
        raise Invalid(
            f"`timestamp` {moment.isoformat()} lies in the future; check the sender's clock.",
            field="timestamp",
            code="too_new",
        )
    if limits.late is not None and moment < received_at - limits.late:
        raise Invalid(
            f"`timestamp` {moment.isoformat()} is more than {limits.late.days} days old; import history instead.",
            field="timestamp",
            code="too_old",
        )
    if moment.year < 1980:
        raise Invalid(
            "`timestamp` lies before 1980; give seconds, not milliseconds?", field="timestamp", code="too_old"
        )
    return min(moment, received_at)


def _amount(facts: dict[str, object], currency: str) -> Decimal | None:
    named = facts.get("currency")
    if named is not None and (not isinstance(named, str) or named.upper() != currency):
        raise Invalid(
            f"`metadata.currency` is {str(named)[:20]!r}; we count in {currency}; convert before sending.",
            field="metadata.currency",
            code="other_currency",
        )
    value = facts.get("amount")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Invalid("`metadata.amount` must be a number.", field="metadata.amount", code="wrong_type")
    try:
        amount = Decimal(str(value)).quantize(Decimal("0.01"))
    except InvalidOperation as error:
        raise Invalid("`metadata.amount` must be a number.", field="metadata.amount", code="wrong_type") from error
    if amount.is_nan():
        raise Invalid("`metadata.amount` must be a number.", field="metadata.amount", code="wrong_type")
    if not 0 <= amount <= _MAX_AMOUNT:
        raise Invalid(
            f"`metadata.amount` must lie between 0 and {_MAX_AMOUNT}; send a refund as event `refund`.",
            field="metadata.amount",
            code="out_of_range",
        )
    return amount


def _seconds(facts: dict[str, object]) -> int | None:
    value = facts.get("timeSpent")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid(
            "`metadata.timeSpent` must be a number of seconds.", field="metadata.timeSpent", code="wrong_type"
        )
    if not 0 <= value <= _MAX_SECONDS:
        raise Invalid(
            f"`metadata.timeSpent` must lie between 0 and {_MAX_SECONDS} seconds.",
            field="metadata.timeSpent",
            code="out_of_range",
        )
    return round(value)


def _reference(facts: dict[str, object], name: str) -> str | None:
    value = facts.get(name)
    if value is None:
        return None
    if isinstance(value, str) and _ORDINARY(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Invalid(f"`metadata.{name}` must be a string.", field=f"metadata.{name}", code="wrong_type")
    check_id(f"metadata.{name}", value)
    return value
