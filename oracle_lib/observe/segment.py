"""Segment's messages in ORACLE's words: track, page and screen are events, identify and group change a profile.

Nothing here touches the database. An event's name is looked up in `ORACLE_SEGMENT_NAMES`, then in
`segment_names.CATALOGUE`, and is put into snake_case otherwise; the name as sent stays in `metadata.originalEvent`.
Properties become metadata, the context stays under `metadata.context`. Who has no user id yet is `anon:<anonymousId>`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Literal, get_args

import msgspec

from oracle_lib.errors import Invalid
from oracle_lib.observe import catalogue, segment_names, segment_traits, wire
from oracle_lib.observe.profiles import ProfileChange
from oracle_lib.observe.wire import Event, Limits, WireEvent

Kind = Literal["track", "identify", "page", "screen", "group", "alias"]

KINDS: tuple[Kind, ...] = get_args(Kind)
ABOUT_PEOPLE: frozenset[Kind] = frozenset({"identify", "group", "alias"})
MAX_BYTES = 32 * 1024
_MAX_KEPT = 4 * 1024
# What a purchase was worth, the most exact first.
_WORTH = ("revenue", "total", "value")


class _Call(msgspec.Struct, rename="camel", kw_only=True):
    """One message as the specification has it; what it does not name is ignored, as their servers do."""

    type: str | None = None
    message_id: str | None = None
    user_id: str | int | None = None
    anonymous_id: str | int | None = None
    previous_id: str | int | None = None
    group_id: str | int | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: dict[str, object] | None = None
    traits: dict[str, object] | None = None
    context: dict[str, object] | None = None
    timestamp: datetime | None = None
    original_timestamp: datetime | None = None
    sent_at: datetime | None = None
    received_at: datetime | None = None


class _Batch(msgspec.Struct, rename="camel"):
    batch: list[msgspec.Raw]
    sent_at: object = None
    context: dict[str, object] | None = None


class _Kept(msgspec.Struct, rename="camel"):
    kind: Kind | None
    sent_at: datetime | None
    context: dict[str, object]


@dataclass(frozen=True)
class Envelope:
    """What holds for every message of a request. `kind` is None where each message says its own.

    `sent_at` is by the sender's clock, `received_at` by ours. `names` are the installation's own names of events.
    """

    kind: Kind | None
    received_at: datetime
    limits: Limits
    names: Mapping[str, str] = field(default_factory=dict)
    sent_at: datetime | None = None
    context: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One message understood: whose it is and what follows from it. `merges` are ids that are this user's too."""

    kind: Kind
    user_id: str
    message_id: str | None
    body_hash: bytes
    event: Event | None = None
    change: ProfileChange | None = None
    merges: tuple[str, ...] = ()

    @property
    def happened(self) -> Event | None:
        """The event it tells of; None for one about a profile."""
        return self.event

    @property
    def day(self) -> date | None:
        """The UTC day its event counts for; None if it is none."""
        return None if self.event is None else self.event.day


_decoder = msgspec.json.Decoder(_Call)
_batch_decoder = msgspec.json.Decoder(_Batch)
_encoder = msgspec.json.Encoder(order="deterministic")


def open_batch(body: bytes, envelope: Envelope) -> tuple[list[bytes], Envelope]:
    """Return the messages of a batch and the envelope with what the batch says for all of them. Raises `Invalid`."""
    try:
        opened = _batch_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f'The body must be {{"batch": [...]}}: {error}.', field="batch", code="malformed_json") from error
    context = opened.context or {}
    fits = len(body) <= MAX_BYTES or len(_encoder.encode(context)) <= MAX_BYTES
    said = replace(envelope, sent_at=_moment(opened.sent_at), context=context if fits else {})
    return [bytes(one) for one in opened.batch], said


def kept(envelope: Envelope) -> bytes:
    """Return what an envelope said, to be kept beside a refused message; a context over 4 KB is left out."""
    said = {"kind": envelope.kind, "sentAt": envelope.sent_at, "context": envelope.context}
    try:
        encoded = _encoder.encode(said)
    except (OverflowError, RecursionError):
        encoded = b""
    return encoded if 0 < len(encoded) <= _MAX_KEPT else _encoder.encode({**said, "context": {}})


def reopened(kept: bytes, received_at: datetime, limits: Limits, names: Mapping[str, str]) -> Envelope:
    """Return the envelope that was kept, as of the moment at which its message was received."""
    said = msgspec.json.decode(kept, type=_Kept)
    return Envelope(said.kind, received_at, limits, names, said.sent_at, said.context)


def parse(raw: bytes, envelope: Envelope) -> Message:
    """Understand one message. Raises `Invalid` with `code` and `field` for anything that is not acceptable."""
    if len(raw) > MAX_BYTES:
        raise Invalid(f"A message may have {MAX_BYTES} bytes; this one has {len(raw)}.", code="too_large")
    try:
        call = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise wire.wrong_shape(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The message is not valid JSON: {error}.", code="malformed_json") from error
    kind = _kind(call, envelope)
    if call.message_id:
        wire.check_id("messageId", call.message_id)
    # What differs each time the same message is sent is no part of it.
    call = msgspec.structs.replace(call, type=kind, message_id=call.message_id or None)
    constant = msgspec.structs.replace(call, sent_at=None, received_at=None)
    try:
        body_hash = hashlib.blake2b(_encoder.encode(constant), digest_size=16).digest()
    except (OverflowError, RecursionError) as error:
        raise Invalid(
            "The message holds a number that is too large, or is nested too deep.", code="bad_value"
        ) from error
    whose = Message(kind, _user_id(call), call.message_id, body_hash)
    return _understood(whose, call, envelope, roomy=len(raw) <= MAX_BYTES // 4)


def named(message: Message, message_id: str) -> Message:
    """Return the message with an id, if it has none of its own."""
    if message.message_id is not None:
        return message
    event = message.event and msgspec.structs.replace(message.event, message_id=message_id)
    return replace(message, message_id=message_id, event=event)


def _understood(whose: Message, call: _Call, envelope: Envelope, *, roomy: bool) -> Message:
    match whose.kind:
        case "identify":
            change = segment_traits.change(call.traits or {}, {**envelope.context, **(call.context or {})})
            return replace(whose, change=change, merges=_merged(whose.user_id, call.anonymous_id))
        case "group":
            return replace(whose, change=segment_traits.membership(_required(call.group_id, "groupId"), call.traits))
        case "alias":
            previous = _required(call.previous_id, "previousId")
            return replace(whose, merges=_merged(whose.user_id, previous, also_as_user=True))
        case _:
            return replace(whose, event=_event(whose, call, envelope, roomy=roomy))


def _kind(call: _Call, envelope: Envelope) -> Kind:
    found = envelope.kind or call.type
    for kind in KINDS:
        if kind == found:
            return kind
    raise Invalid(f"`type` must be one of {', '.join(KINDS)}.", field="type", code="bad_type")


def _user_id(call: _Call) -> str:
    if call.user_id not in (None, ""):
        user_id = str(call.user_id)
        wire.check_id("userId", user_id)
        return user_id
    if call.anonymous_id in (None, "") or call.type == "alias":
        raise Invalid(
            "A message needs a `userId` or an `anonymousId`; alias needs a `userId`.", field="userId", code="empty_id"
        )
    return _anonymous(call.anonymous_id)


def _anonymous(given: str | int | None) -> str:
    anonymous = f"anon:{given}"
    wire.check_id("anonymousId", anonymous)
    return anonymous


def _required(given: str | int | None, name: str) -> str:
    if given in (None, ""):
        raise Invalid(f"`{name}` must not be empty.", field=name, code="empty_id")
    wire.check_id(name, str(given))
    return str(given)


def _merged(user_id: str, given: str | int | None, *, also_as_user: bool = False) -> tuple[str, ...]:
    """Return the ids that turn out to be `user_id`'s: an alias may name an anonymous id or a user id."""
    if given in (None, ""):
        return ()
    found = [_anonymous(given), *([str(given)] if also_as_user else [])]
    return tuple(one for one in found if one != user_id)


def _event(whose: Message, call: _Call, envelope: Envelope, *, roomy: bool) -> Event:
    name, original = _named(call, envelope)
    facts = segment_names.normalized(call.properties or {})
    if name in catalogue.PRICED and facts.get("amount") is None:
        facts |= next(({"amount": facts[key]} for key in _WORTH if facts.get(key) is not None), {})
    facts["originalEvent"] = original
    if call.type != "track":
        facts = {**{key: value for key in ("name", "category") if (value := getattr(call, key)) is not None}, **facts}
    context = {**envelope.context, **(call.context or {})}
    facts = _with_context(facts, context, roomy=roomy and not envelope.context)
    session = _text(facts.get("sessionId")) or _text(context.get("sessionId"))
    body = WireEvent(
        user_id=whose.user_id,
        event=name,
        metadata=facts,
        source=wire.SEGMENT,
        session_id=session,
        timestamp=_happened(call, envelope),
        message_id=whose.message_id,
    )
    return msgspec.structs.replace(wire.check(body, envelope.received_at, envelope.limits), body_hash=whose.body_hash)


def _named(call: _Call, envelope: Envelope) -> tuple[str, str]:
    """Return ORACLE's name of an event and the one it was sent with."""
    if call.type != "track":
        return "page_view", str(call.type)
    if not (call.event or "").strip():
        raise Invalid("`event` must not be empty.", field="event", code="bad_event_name")
    return segment_names.ours(call.event or "", envelope.names), call.event or ""


def _with_context(facts: dict[str, object], context: Mapping[str, object], *, roomy: bool) -> dict[str, object]:
    """Add the context, or the word that it was left out because the rest leaves no room for it."""
    device = context.get("device")
    if isinstance(device, Mapping) and isinstance(device.get("type"), str):
        facts.setdefault("device", device["type"])
    if not context or "context" in facts:
        return facts
    whole = {**facts, "context": context}
    try:
        fits = roomy or len(_encoder.encode(whole)) <= wire.MAX_METADATA_BYTES
    except (OverflowError, RecursionError):
        fits = True  # What is wrong with it is said by the check that follows.
    return whole if fits else {**facts, "contextTrimmed": True}


def _happened(call: _Call, envelope: Envelope) -> datetime | None:
    """Return when it happened by our clock.

    A sender's clock may be wrong, but not between two of its own readings: what it says of the event is moved by the
    difference between its clock when it sent and ours when we received. With both time stamps somebody did that before.
    """
    if call.original_timestamp is not None and call.timestamp is not None:
        return _zoned(call.timestamp)
    said, sent = call.original_timestamp or call.timestamp, call.sent_at or envelope.sent_at
    if said is None or sent is None:
        return None if said is None else _zoned(said)
    received = envelope.received_at if call.received_at is None else _zoned(call.received_at)
    try:
        return received - (_zoned(sent) - _zoned(said))
    except OverflowError as error:
        raise Invalid("`timestamp` is out of range.", field="timestamp", code="bad_timestamp") from error


def _zoned(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _moment(value: object) -> datetime | None:
    """Return a time stamp, or None for what is none: a batch is not refused over when it was sent."""
    try:
        return msgspec.convert(value, datetime) if isinstance(value, str) else None
    except msgspec.ValidationError:
        return None


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def about(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Return (previous id, user id) of every merge that `messages` ask for, in their order."""
    return [(previous, one.user_id) for one in messages for previous in one.merges]
