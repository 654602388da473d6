"""Five rules an academy can start with, in the voice of its coach (SPEC section 8): warm, short, no pressure.

They never bring up how a text was written, never claim to be a human or to have lived through anything, and wait for a
person's approval like every rule. They are a start: change them in the panel.
"""

from oracle_lib.decide import definition
from oracle_lib.decide.definition import Definition

_NAME = '{{ first_name or "there" }}'
_COMMA_NAME = "{% if first_name %}, {{ first_name }}{% endif %}"
_COURSE = '{{ course_title or "the course" }}'

_WELCOME = {
    "name": "welcome",
    "description": "A new student who has not finished a first lesson yet: say hello and make the first step small.",
    "trigger": "event_based",
    "conditions": {
        "all": [
            {"any": [{"event": "signup", "within_days": 2}, {"event": "purchase", "within_days": 2}]},
            {"event": "lesson_complete", "count": {"op": "=", "value": 0}},
        ]
    },
    "actionType": "email",
    "actionData": {
        "template": "welcome",
        "subject": f"Welcome{_COMMA_NAME}! Your first lesson is ready",
        "content": f"""Hi {_NAME},

Welcome, it is lovely to have you here! Your first lesson is waiting, and it is a gentle one.
Pick a quiet moment today, press play, and stop whenever you like: your place is kept.
If anything is unclear, just reply to this email and the team will help.

Cheering you on!
Coach Sarah 💚""",
    },
    "priority": 8,
    "maxPerUser": 1,
    "goal": {"event": "lesson_complete", "within_days": 3},
}

_KEEP_GOING = {
    "name": "keep going",
    "description": "Three lessons within a week and more to come: notice it and point to the next one.",
    "trigger": "event_based",
    "conditions": {
        "all": [
            {"event": "lesson_complete", "within_days": 1},
            {"event": "lesson_complete", "within_days": 7, "count": {"op": ">=", "value": 3}},
            {"not": {"segment": "progress", "op": ">=", "value": 95}},
        ]
    },
    "actionType": "dm",
    "actionData": {
        "template": "keep_going",
        "content": (
            f"{{{{ lessons_this_week or 'Three' }}}} lessons this week{_COMMA_NAME}: well done! "
            "{% if progress is not none %}You are {{ progress }} % of the way through "
            f"{_COURSE}. {{% endif %}}"
            "The next lesson builds right on what you just learned, so it is a good moment to carry on. 💚"
        ),
    },
    "priority": 4,
    "cooldown": 24 * 7,
    "maxPerUser": 6,
    "goal": {"event": "lesson_complete", "within_days": 3},
}

_STUCK = {
    "name": "stuck",
    "description": "Still comes by, but no lesson finished for five days: ask what is in the way and offer help.",
    "trigger": "time_based",
    "conditions": {
        "all": [
            {"days_since": {"event": "lesson_complete", "op": ">=", "value": 5}},
            {"days_since": {"event": "activity", "op": "<=", "value": 3}},
            {"not": {"segment": "progress", "op": ">=", "value": 95}},
            {"event": "course_complete", "within_days": 30, "count": {"op": "=", "value": 0}},
        ]
    },
    "actionType": "dm",
    "actionData": {
        "template": "stuck",
        "content": (
            f"Hi {_NAME}, some lessons take a second try, and that is completely fine. "
            f"Is there a step in {_COURSE} that does not quite click? "
            "Reply with where you are and we will find a way through it together. Cheering you on! 💚"
        ),
    },
    "priority": 7,
    "cooldown": 24 * 7,
    "maxPerUser": 3,
    "goal": {"event": "lesson_complete", "within_days": 5},
}

_WIN_BACK = {
    "name": "win-back",
    "description": "Had begun, then a week of silence: a friendly way back, small enough for a busy day.",
    "trigger": "time_based",
    "conditions": {
        "all": [
            {"days_since": {"event": "activity", "op": ">=", "value": 7}},
            {"days_since": {"event": "activity", "op": "<=", "value": 30}},
            {"segment": "lifecycle", "op": "in", "value": ["new", "active", "engaged"]},
            {"event": "refund", "within_days": 30, "count": {"op": "=", "value": 0}},
            {"event": "course_withdrawn", "within_days": 30, "count": {"op": "=", "value": 0}},
        ]
    },
    "actionType": "email",
    "actionData": {
        "template": "win_back",
        "subject": f"Your place is kept{_COMMA_NAME}",
        "content": f"""Hi {_NAME},

Life gets full, and that is all right: your place in {_COURSE} is just where you left it.
{{% if lessons_done %}}You have {{{{ lessons_done }}}} lessons behind you already, and none of that is lost.
{{% endif %}}Ten minutes with the next lesson is plenty for a first day back.
If something stood in your way, reply and tell us; we would love to help.

Warmly,
Coach Sarah 💚""",
    },
    "priority": 6,
    "cooldown": 24 * 14,
    "maxPerUser": 3,
    "goal": {"event": "lesson_complete", "within_days": 7},
}

_UPSELL = {
    "name": "upsell at momentum",
    "description": "Learning well and likely to stay: show what comes next, once, without pressure.",
    "trigger": "segment_based",
    "conditions": {
        "all": [
            {"segment": "engagementLevel", "op": "=", "value": "active"},
            {"segment": "lifecycle", "op": "in", "value": ["engaged", "graduate"]},
            {"segment": "churnRisk", "op": "<", "value": 50},
            {"event": "purchase", "within_days": 14, "count": {"op": "=", "value": 0}},
            {"event": "upgrade", "within_days": 90, "count": {"op": "=", "value": 0}},
            {"event": "refund", "within_days": 90, "count": {"op": "=", "value": 0}},
        ]
    },
    "actionType": "email",
    "actionData": {
        "template": "upsell_momentum",
        "subject": f"Ready for what comes next{_COMMA_NAME}?",
        "content": f"""Hi {_NAME},

You have found a lovely rhythm with {_COURSE}, and it shows.
When you feel ready for more, the next course picks up where this one ends.
Have a look at what it covers and see whether it fits your goals; there is no hurry.
Questions about which course suits you best? Just reply.

Cheering you on!
Coach Sarah 💚""",
    },
    "priority": 3,
    "cooldown": 24 * 30,
    "maxPerUser": 2,
    "goal": {"event": "purchase", "within_days": 14},
}


def rules() -> list[Definition]:
    """Return the five, checked like any rule."""
    return [definition.read(body) for body in (_WELCOME, _KEEP_GOING, _STUCK, _WIN_BACK, _UPSELL)]
