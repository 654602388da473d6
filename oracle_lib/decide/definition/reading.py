"""A rule as it comes over the wire, checked; every refusal names the place that is wrong."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from oracle_lib.decide import conditions, fields, templates
from oracle_lib.decide.definition.model import (
    ADDRESSES,
    AT_ONCE,
    BASE,
    BEST_TIME,
    HOLDOUT,
    MAX_TOPIC,
    RULE_ACTIONS,
    TRIGGERS,
    Definition,
    Goal,
    Message,
    TagChange,
    Variant,
    Words,
)
from oracle_lib.errors import Invalid
from oracle_lib.observe import catalogue

# Percent of users who get nothing from a marketing rule that does not say: enough to learn from, few enough to bear.
DEFAULT_HOLDOUT = 10
MAX_HOLDOUT, MAX_VARIANTS, MAX_LOCALES = 50, 5, 40
# Only what is said to one user can be held out from some and varied for others.
_TO_A_USER = ("email", "dm", "push")
_WORDS = ("subject", "preheader", "content")
_MESSAGE = ("template", *_WORDS, "locales")
_LOCALE = re.compile(r"[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*")
_ARM = re.compile(r"[a-z0-9][a-z0-9_-]{0,29}")
_NAMES = {
    "name",
    "description",
    "trigger",
    "conditions",
    "actionType",
    "actionData",
    "isActive",
    "priority",
    "cooldown",
    "maxPerUser",
    "expiresAt",
    "approval",
    "messageClass",
    "topic",
    "goal",
    "holdout",
    "variants",
    "sendAt",
}


def read(body: Mapping[str, object]) -> Definition:
    """Check a rule as it comes over the wire. Raises `Invalid` whose `field` is the place that is wrong."""
    made = restore({**body, "holdout": _default_holdout(body)} if body.get("holdout") is None else body)
    _refuse_silent(made)
    if made.shares[BASE] < 1:
        raise _wrong("variants", "leave nobody for the rule's own message: holdout and shares are under 100 in all")
    for place, words in _all_words(made):
        templates.check(words.content, field=f"{place}.content")
        if words.subject is not None:
            templates.check(words.subject, field=f"{place}.subject")
        if words.preheader is not None:
            templates.check(words.preheader, field=f"{place}.preheader")
    return made


def restore(body: Mapping[str, object]) -> Definition:
    """Return the definition of a version that was checked when it was published, whatever is asked of a new one.

    One that says nothing of a holdout was published before there were any.
    """
    for name in body:
        if name not in _NAMES:
            raise _wrong(name, f"is not known; known are {', '.join(sorted(_NAMES))}")
    action_type = _one_of(body, "actionType", RULE_ACTIONS, None)
    message_class = _one_of(body, "messageClass", ("marketing", "transactional"), "marketing")
    return Definition(
        name=_text(body.get("name"), "name", 100),
        description=_optional_text(body.get("description"), "description", 2000),
        trigger=_one_of(body, "trigger", TRIGGERS, None),
        conditions=conditions.parse(body.get("conditions")),
        action_type=action_type,
        action=_action(body.get("actionData"), action_type),
        is_active=_flag(body.get("isActive", True), "isActive"),
        priority=_whole(body.get("priority", 5), "priority", 1, 10),
        cooldown=_whole(body.get("cooldown", 24), "cooldown", 0, 24 * 365),
        max_per_user=_optional_whole(body.get("maxPerUser"), "maxPerUser", 1, 1000),
        expires_at=_moment(body.get("expiresAt"), "expiresAt"),
        approval=_one_of(body, "approval", ("review", "auto"), "review"),
        message_class=message_class,
        topic=_topic(body.get("topic"), action_type, message_class),
        goal=_goal(body.get("goal")),
        holdout=_holdout(body.get("holdout", 0), action_type),
        variants=_variants(body.get("variants"), action_type),
        send_at=_send_at(body, action_type),
    )


def _all_words(rule: Definition) -> Iterator[tuple[str, Words]]:
    """Yield each text of a rule with the place that it stands at."""
    messages = [("actionData", rule.action)] if isinstance(rule.action, Message) else []
    messages += [(f"variants[{number}]", variant.message) for number, variant in enumerate(rule.variants)]
    for place, message in messages:
        yield place, message.words
        yield from ((f"{place}.locales.{tag}", words) for tag, words in message.locales)


def _refuse_silent(rule: Definition) -> None:
    """Refuse a rule that could match but never fire."""
    if rule.trigger == "event_based" and not rule.fires_on:
        raise _wrong("conditions", "must count an event that fires the rule, as the trigger is event_based")
    if rule.trigger == "segment_based" and not rule.moved_by:
        known = ", ".join(field.name for field in fields.SEGMENT.values() if field.moves)
        raise _wrong("conditions", f"must name one of {known}, as the trigger is segment_based")
    if rule.trigger == "time_based" and rule.anchor is None:
        raise _wrong(
            "conditions", "must hold a `days_since` with > or >=, or a `then_not`, as the trigger is time_based"
        )


def _action(body: object, action_type: str) -> Message | TagChange:
    if not isinstance(body, Mapping):
        raise _wrong("actionData", "must be an object")
    if action_type != "tag":
        return _message(body, "actionData", action_type)
    _only(body, "actionData", "tag", "remove")
    remove = _flag(body.get("remove", False), "actionData.remove")
    return TagChange(_text(body.get("tag"), "actionData.tag", conditions.MAX_TEXT), remove)


def _message(body: Mapping[str, object], place: str, action_type: str) -> Message:
    address = ADDRESSES.get(action_type)
    _only(body, place, *_MESSAGE, *([address] if address else []))
    return Message(
        words=_words(body, place, action_type),
        template=_optional_text(body.get("template"), f"{place}.template", 100),
        address=_optional_text(body.get(address), f"{place}.{address}", 200) if address else None,
        locales=_locales(body.get("locales"), f"{place}.locales", action_type),
    )


def _words(body: Mapping[str, object], place: str, action_type: str) -> Words:
    made = Words(
        content=_text(body.get("content"), f"{place}.content", templates.MAX_CONTENT),
        subject=_optional_text(body.get("subject"), f"{place}.subject", templates.MAX_SUBJECT),
        preheader=_optional_text(body.get("preheader"), f"{place}.preheader", templates.MAX_PREHEADER),
    )
    if action_type == "email" and made.subject is None:
        raise _wrong(f"{place}.subject", "is missing; an email has a subject")
    if action_type != "email" and made.preheader is not None:
        raise _wrong(f"{place}.preheader", "is of an email: nothing else is shown in a mailbox")
    return made


def _locales(body: object, place: str, action_type: str) -> tuple[tuple[str, Words], ...]:
    if body is None:
        return ()
    if not isinstance(body, Mapping) or len(body) > MAX_LOCALES:
        raise _wrong(place, f"must be an object of at most {MAX_LOCALES} languages")
    made: dict[str, Words] = {}
    for tag, words in body.items():
        here = f"{place}.{tag}"
        if not isinstance(tag, str) or _LOCALE.fullmatch(tag) is None:
            raise _wrong(here, "must be a language tag, e.g. `es` or `pt-BR`")
        if tag.lower() in (known.lower() for known in made):
            raise _wrong(here, "is there twice")
        if not isinstance(words, Mapping):
            raise _wrong(here, "must be an object with `content`")
        _only(words, here, *_WORDS)
        made[tag] = _words(words, here, action_type)
    return tuple(made.items())


def _topic(value: object, action_type: str, message_class: str) -> str | None:
    topic = _optional_text(value, "topic", MAX_TOPIC)
    if topic is not None and (action_type not in _TO_A_USER or message_class != "marketing"):
        raise _wrong("topic", "is of marketing to a user: nothing else can be refused by its topic")
    if topic is not None and (topic != topic.strip() or not topic.isprintable()):
        raise _wrong("topic", "must be one line without control characters or spaces around it")
    return topic


def _default_holdout(body: Mapping[str, object]) -> int:
    to_a_user = body.get("actionType") in _TO_A_USER and body.get("messageClass", "marketing") == "marketing"
    return DEFAULT_HOLDOUT if to_a_user else 0


def _holdout(value: object, action_type: str) -> int:
    share = _whole(value, "holdout", 0, MAX_HOLDOUT)
    if share and action_type not in _TO_A_USER:
        raise _wrong("holdout", f"must be 0: nobody can be held out from a {action_type}")
    return share


def _variants(body: object, action_type: str) -> tuple[Variant, ...]:
    if body is None or body == []:
        return ()
    if not isinstance(body, list) or len(body) > MAX_VARIANTS:
        raise _wrong("variants", f"must be a list of at most {MAX_VARIANTS}")
    if action_type not in _TO_A_USER:
        raise _wrong("variants", f"must be empty: a {action_type} is the same for everybody")
    made: list[Variant] = []
    for number, one in enumerate(body):
        place = f"variants[{number}]"
        if not isinstance(one, Mapping):
            raise _wrong(place, "must be an object with `name`, `share` and `content`")
        _only(one, place, "name", "share", *_MESSAGE)
        name = one.get("name")
        if not isinstance(name, str) or _ARM.fullmatch(name) is None:
            raise _wrong(f"{place}.name", "must be a short name of a-z, 0-9, - and _")
        if name in (BASE, HOLDOUT, *(other.name for other in made)):
            raise _wrong(f"{place}.name", f"is taken; {BASE!r} is the rule's own message")
        said = {field: one[field] for field in _MESSAGE if field in one}
        share = _whole(one.get("share"), f"{place}.share", 1, 99)
        made.append(Variant(name, share, _message(said, place, action_type)))
    return tuple(made)


def _send_at(body: Mapping[str, object], action_type: str) -> str:
    asked = _one_of(body, "sendAt", (AT_ONCE, BEST_TIME), AT_ONCE)
    if asked == BEST_TIME and action_type not in _TO_A_USER:
        raise _wrong("sendAt", f"may be {BEST_TIME} only for {', '.join(_TO_A_USER)}: others reach no single user")
    return asked


def _goal(body: object) -> Goal | None:
    if body is None:
        return None
    if not isinstance(body, Mapping):
        raise _wrong("goal", 'must be an object such as {"event": "purchase", "within_days": 14}')
    _only(body, "goal", "event", "within_days")
    event = body.get("event")
    if not isinstance(event, str) or not catalogue.is_valid_name(event):
        raise _wrong("goal.event", "must be the snake_case name of an event")
    return Goal(event, _whole(body.get("within_days"), "goal.within_days", 1, 90))


def _only(body: Mapping[str, object], place: str, *names: str) -> None:
    for name in body:
        if name not in names:
            raise _wrong(f"{place}.{name}", f"is not known here; known are {', '.join(names)}")


def _one_of(body: Mapping[str, object], name: str, words: tuple[str, ...], default: str | None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or value not in words:
        raise _wrong(name, f"must be one of {', '.join(words)}")
    return value


def _text(value: object, place: str, longest: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise _wrong(place, f"must be a text of 1 to {longest} characters")
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _wrong(place, "holds a NUL or half a surrogate pair")
    return value


def _optional_text(value: object, place: str, longest: int) -> str | None:
    return None if value is None else _text(value, place, longest)


def _flag(value: object, place: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(place, "must be true or false")
    return value


def _whole(value: object, place: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(place, f"must be a whole number from {low} to {high}")
    return value


def _optional_whole(value: object, place: str, low: int, high: int) -> int | None:
    return None if value is None else _whole(value, place, low, high)


def _moment(value: object, place: str) -> datetime | None:
    if value is None or (isinstance(value, datetime) and value.tzinfo is not None):
        return value
    try:
        made = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        made = None
    if made is None or made.tzinfo is None:
        raise _wrong(place, "must be a moment with a zone, such as 2026-03-04T12:00:00Z")
    return made


def _wrong(place: str, problem: str) -> Invalid:
    return Invalid(f"`{place}` {problem}.", field=place, code="bad_rule")
