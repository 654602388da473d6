"""A definition as JSON, as the specification names its fields; `reading.read` gives the same definition back."""

from oracle_lib.decide import conditions
from oracle_lib.decide.definition.model import ADDRESSES, AT_ONCE, Definition, Goal, Message, TagChange, Words


def wire(rule: Definition) -> dict[str, object]:
    """Return a definition as JSON."""
    # Versions published before there was a choice say nothing of it, and are the same.
    timed = {"sendAt": rule.send_at} if rule.send_at != AT_ONCE else {}
    return {
        **timed,
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
        "topic": rule.topic,
        "goal": _goal(rule.goal),
        "holdout": rule.holdout,
        "variants": [
            {"name": variant.name, "share": variant.share, **_message(variant.message, rule.action_type)}
            for variant in rule.variants
        ],
    }


def action_data(rule: Definition) -> dict[str, object]:
    """Return the specification's `actionData`."""
    if isinstance(rule.action, TagChange):
        return {"tag": rule.action.tag, "remove": rule.action.remove}
    return _message(rule.action, rule.action_type)


def _message(message: Message, action_type: str) -> dict[str, object]:
    said: dict[str, object] = {"template": message.template, **_words(message.words)}
    if message.address is not None:
        said[ADDRESSES[action_type]] = message.address
    if message.locales:
        said["locales"] = {tag: _words(words) for tag, words in message.locales}
    return said


def _words(words: Words) -> dict[str, object]:
    # Versions published before there were preheaders say nothing of one, and are the same.
    shown = {"preheader": words.preheader} if words.preheader is not None else {}
    return {"subject": words.subject, **shown, "content": words.content}


def _goal(goal: Goal | None) -> dict[str, object] | None:
    return {"event": goal.event, "within_days": goal.within_days} if goal else None
