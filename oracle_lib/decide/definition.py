"""What a rule says, checked: read from the wire's camelCase, and written back as the row of a published version.

A rule that is read here can be evaluated: its conditions are a tree, its trigger has something to fire on, its texts
can be filled in for anybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from oracle_lib.decide import conditions, fields, templates
from oracle_lib.decide.conditions import Condition, DaysSince, EventCount, EventSum, Followed, Leaf
from oracle_lib.errors import Invalid
from oracle_lib.observe import catalogue
from oracle_lib.storage.tables import ACTION_TYPES

TRIGGERS = ("event_based", "time_based", "segment_based")
RULE_ACTIONS = (*ACTION_TYPES, "tag")
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
    "goal",
}


@dataclass(frozen=True)
class Message:
    """What is proposed: templates of subject and content. `template` is a name for people."""

    content: str
    subject: str | None = None
    template: str | None = None


@dataclass(frozen=True)
class TagChange:
    """A tag that is set, or taken away."""

    tag: str
    remove: bool = False


@dataclass(frozen=True)
class Goal:
    """What counts as success: the event, within so many days after delivery."""

    event: str
    within_days: int


@dataclass(frozen=True)
class Definition:
    """One version of a rule. `cooldown` in hours, `priority` 1-10 (10 most urgent), `max_per_user` None: no limit."""

    name: str
    trigger: str
    conditions: Condition
    action_type: str
    action: Message | TagChange
    description: str | None = None
    is_active: bool = True
    priority: int = 5
    cooldown: int = 24
    max_per_user: int | None = None
    expires_at: datetime | None = None
    approval: str = "review"
    message_class: str = "marketing"
    goal: Goal | None = None

    @property
    def fires_on(self) -> frozenset[str]:
        """The events that fire an event rule: those its conditions count, add up or await as having happened."""
        asserted = conditions.leaves(self.conditions, asserted=True)
        return frozenset(event for leaf in asserted for event in _happened(leaf))

    @property
    def moved_by(self) -> frozenset[str]:
        """The fields of `segment_changes` that fire a segment rule."""
        return frozenset(field.moves for field in self._mentioned if field.moves)

    @property
    def rests_on(self) -> frozenset[str]:
        """The targets of the models whose word the conditions take."""
        return frozenset(field.target for field in self._mentioned if field.target)

    @property
    def _mentioned(self) -> list[fields.Field]:
        found = (conditions.field_of(leaf) for leaf in conditions.leaves(self.conditions))
        return [field for field in found if field]

    @property
    def anchor(self) -> DaysSince | Followed | None:
        """The leaf that fires a time rule: the first that asks for more days since an event, or what did not follow."""
        for leaf in conditions.leaves(self.conditions, asserted=True):
            match leaf:
                case DaysSince(op=">" | ">=" | "=") | Followed(follows=False):
                    return leaf
        return None


def read(body: Mapping[str, object]) -> Definition:
    """Check a rule as it comes over the wire. Raises `Invalid` whose `field` is the place that is wrong."""
    for name in body:
        if name not in _NAMES:
            raise _wrong(name, f"is not known; known are {', '.join(sorted(_NAMES))}")
    action_type = _one_of(body, "actionType", RULE_ACTIONS, None)
    made = Definition(
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
        message_class=_one_of(body, "messageClass", ("marketing", "transactional"), "marketing"),
        goal=_goal(body.get("goal")),
    )
    _refuse_silent(made)
    return made


def wire(rule: Definition) -> dict[str, object]:
    """Return a definition as JSON; `read` gives the same definition back."""
    return {
        "name": rule.name,
        "description": rule.description,
        "trigger": rule.trigger,
        "conditions": conditions.wire(rule.conditions),
        "actionType": rule.action_type,
        "actionData": action_data(rule),
        "isActive": rule.is_active,
        "priority": rule.priority,
        "cooldown": rule.cooldown,
        "maxPerUser": rule.max_per_user,
        "expiresAt": rule.expires_at.isoformat() if rule.expires_at else None,
        "approval": rule.approval,
        "messageClass": rule.message_class,
        "goal": goal_data(rule),
    }


def action_data(rule: Definition) -> dict[str, object]:
    """Return the specification's `actionData`."""
    if isinstance(rule.action, TagChange):
        return {"tag": rule.action.tag, "remove": rule.action.remove}
    return {"template": rule.action.template, "subject": rule.action.subject, "content": rule.action.content}


def goal_data(rule: Definition) -> dict[str, object] | None:
    """Return the goal as JSON, as learn reads it."""
    return {"event": rule.goal.event, "within_days": rule.goal.within_days} if rule.goal else None


def _happened(leaf: Leaf) -> tuple[str, ...]:
    """Return the events that can make a leaf true by happening."""
    match leaf:
        case EventCount(event, _, op, value) if _asks_for_some(op, value):
            return (event,)
        case EventSum(of, _, op, value) if _asks_for_some(op, value):
            return conditions.SUMMED[of]
        case Followed(first, then, follows):
            return (first, then) if follows else (first,)
        case _:
            return ()


def _asks_for_some(op: str, value: float) -> bool:
    return op == ">" or (op in {">=", "="} and value > 0)


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
    if action_type == "tag":
        _only(body, "actionData", "tag", "remove")
        remove = _flag(body.get("remove", False), "actionData.remove")
        return TagChange(_text(body.get("tag"), "actionData.tag", conditions.MAX_TEXT), remove)
    _only(body, "actionData", "template", "subject", "content")
    made = Message(
        content=_text(body.get("content"), "actionData.content", templates.MAX_CONTENT),
        subject=_optional_text(body.get("subject"), "actionData.subject", templates.MAX_SUBJECT),
        template=_optional_text(body.get("template"), "actionData.template", 100),
    )
    if action_type == "email" and made.subject is None:
        raise _wrong("actionData.subject", "is missing; an email has a subject")
    templates.check(made.content, field="actionData.content")
    if made.subject is not None:
        templates.check(made.subject, field="actionData.subject")
    return made


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
