"""Leaves read from JSON: one function a kind, each naming the place that is wrong."""

import re
from collections.abc import Callable, Mapping

from oracle_lib.decide import fields
from oracle_lib.decide.conditions.tree import (
    CHANNELS,
    MESSAGES,
    SUMMED,
    Changed,
    CourseProgress,
    DaysSince,
    EventCount,
    EventSum,
    Followed,
    HasTag,
    Leaf,
    MessageCount,
    PredictionIs,
    SegmentIs,
    TraitIs,
    Value,
)
from oracle_lib.decide.conditions.values import (
    MAX_DAYS,
    OPERATORS,
    any_days,
    days,
    event_name,
    mapping,
    one_of,
    only,
    operator,
    text,
    value_of,
    whole,
    wrong,
)

# Somebody who began lately has had as long as asked, and a month more, for what follows.
_LATELY = 30
_MOST = 1_000_000
_MOST_SUMMED = 1_000_000_000
_TRAIT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")


def leaf(body: Mapping[str, object], place: str) -> Leaf:
    """Read one leaf, told by the name it opens with."""
    for name, read in KINDS.items():
        if name in body:
            return read(body, place)
    raise wrong(place, f"must hold one of `all`, `any`, `not`, {', '.join(f'`{name}`' for name in KINDS)}")


def _segment(body: Mapping[str, object], place: str) -> SegmentIs:
    only(body, place, "segment", "op", "value")
    known = fields.SEGMENT[one_of(body["segment"], f"{place}.segment", tuple(sorted(fields.SEGMENT)))]
    op, value = _compared(known, body, place)
    return SegmentIs(known.name, op, value)


def _prediction(body: Mapping[str, object], place: str) -> PredictionIs:
    only(body, place, "prediction", "op", "value")
    target = one_of(body["prediction"], f"{place}.prediction", tuple(fields.PREDICTED))
    op, value = _compared(fields.PREDICTED[target], body, place)
    return PredictionIs(target, op, value)


def _compared(known: fields.Field, body: Mapping[str, object], place: str) -> tuple[str, Value]:
    op = operator(body, place, OPERATORS if known.numeric else ("=", "!=", "in"))
    value = value_of(body, op, place)
    for one in value if isinstance(value, tuple) else (value,):
        if problem := known.problem(one):
            raise wrong(f"{place}.value", problem)
    return op, value


def _change(body: Mapping[str, object], place: str) -> Changed:
    only(body, place, "change", "from", "to", "rose", "fell", "within_days")
    known = fields.SEGMENT[one_of(body["change"], f"{place}.change", fields.CHANGING)]
    before, after = (
        one_of(body[name], f"{place}.{name}", known.words) if name in body else None for name in ("from", "to")
    )
    if before is not None and before == after:
        raise wrong(f"{place}.to", "is the same as `from`, which is no change")
    if "rose" in body and "fell" in body:
        raise wrong(f"{place}.fell", "stands without `rose`; one change does not do both")
    steps = _steps(known, body, "rose", place) - _steps(known, body, "fell", place)
    return Changed(known.name, days(body.get("within_days"), f"{place}.within_days"), before, after, steps)


def _steps(known: fields.Field, body: Mapping[str, object], way: str, place: str) -> int:
    if way not in body:
        return 0
    if not known.ladder:
        raise wrong(f"{place}.{way}", f"is not known of `{known.name}`, whose words have no order")
    asked = body[way]
    if asked is True:
        return 1
    highest = len(known.ladder) - 1
    if asked is False or not isinstance(asked, int) or not 1 <= asked <= highest:
        raise wrong(f"{place}.{way}", f"must be true, or the number of steps from 1 to {highest}")
    return asked


def _event(body: Mapping[str, object], place: str) -> EventCount:
    only(body, place, "event", "within_days", "count")
    name = event_name(body["event"], f"{place}.event")
    return EventCount(name, any_days(body, place), *_counted(body, place))


def _counted(body: Mapping[str, object], place: str) -> tuple[str, int]:
    """Read `count`: at least so many, or an operator and a number; at least one where nothing is said."""
    asked = body.get("count", 1)
    if not isinstance(asked, Mapping):
        return ">=", whole(asked, f"{place}.count", 0, _MOST)
    only(asked, f"{place}.count", "op", "value")
    return operator(asked, f"{place}.count"), whole(asked.get("value"), f"{place}.count.value", 0, _MOST)


def _sum(body: Mapping[str, object], place: str) -> EventSum:
    only(body, place, "sum", "within_days")
    asked = mapping(body["sum"], f"{place}.sum", '{"of": "revenue", "op": ">=", "value": 100}')
    only(asked, f"{place}.sum", "of", "op", "value")
    of = one_of(asked.get("of"), f"{place}.sum.of", tuple(SUMMED))
    op = operator(asked, f"{place}.sum")
    value = value_of(asked, "=", f"{place}.sum")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_SUMMED:
        raise wrong(f"{place}.sum.value", f"must be a number from 0 to {_MOST_SUMMED}")
    if of == "seconds" and value != int(value):
        raise wrong(f"{place}.sum.value", "must be a whole number of seconds")
    if of != "seconds" and round(value, 2) != value:
        raise wrong(f"{place}.sum.value", "has more than two decimals")
    return EventSum(of, any_days(body, place), op, value)


def _days_since(body: Mapping[str, object], place: str) -> DaysSince:
    only(body, place, "days_since")
    place = f"{place}.days_since"
    asked = mapping(body["days_since"], place, '{"event": "login", "op": ">", "value": 3}')
    only(asked, place, "event", "op", "value")
    event = event_name(asked.get("event"), f"{place}.event")
    return DaysSince(event, operator(asked, place), whole(asked.get("value"), f"{place}.value", 0, MAX_DAYS))


def _sequence(body: Mapping[str, object], place: str) -> Followed:
    only(body, place, "sequence")
    place = f"{place}.sequence"
    example = '{"first": "lesson_start", "then_not": "lesson_complete", "within_days": 3}'
    asked = mapping(body["sequence"], place, example)
    only(asked, place, "first", "then", "then_not", "within_days", "in_last_days")
    if ("then" in asked) == ("then_not" in asked):
        raise wrong(place, "must hold either `then` or `then_not`")
    second = "then" if "then" in asked else "then_not"
    first = event_name(asked.get("first"), f"{place}.first")
    then = event_name(asked[second], f"{place}.{second}")
    if first == then:
        raise wrong(f"{place}.{second}", "must be another event than `first`: the order within a day is not kept")
    within = whole(asked.get("within_days"), f"{place}.within_days", 1, 365)
    in_last = days(asked.get("in_last_days", within + _LATELY), f"{place}.in_last_days")
    if in_last <= within and second == "then_not":
        raise wrong(f"{place}.in_last_days", "must be more than `within_days`, which have to be over")
    return Followed(first, then, second == "then", within, in_last)


def _message(body: Mapping[str, object], place: str) -> MessageCount:
    only(body, place, "message", "channel", "template", "within_days", "count")
    what = one_of(body["message"], f"{place}.message", MESSAGES)
    channel = one_of(body["channel"], f"{place}.channel", CHANNELS) if "channel" in body else None
    template = text(body["template"], f"{place}.template") if "template" in body else None
    return MessageCount(what, channel, template, any_days(body, place), *_counted(body, place))


def _progress(body: Mapping[str, object], place: str) -> CourseProgress:
    only(body, place, "progress")
    place = f"{place}.progress"
    asked = mapping(body["progress"], place, '{"course": "python", "op": ">=", "value": 50}')
    only(asked, place, "course", "op", "value")
    course = text(asked.get("course"), f"{place}.course")
    return CourseProgress(course, operator(asked, place), whole(asked.get("value"), f"{place}.value", 0, 100))


def _trait(body: Mapping[str, object], place: str) -> TraitIs:
    only(body, place, "trait", "op", "value")
    name = body["trait"]
    if not isinstance(name, str) or not _TRAIT.fullmatch(name):
        raise wrong(f"{place}.trait", "must be the name of a trait: letters, digits, `_` and `-`, at most 100")
    op = operator(body, place, OPERATORS)
    value = value_of(body, op, place)
    if op in {"<", "<=", ">", ">="} and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise wrong(f"{place}.value", f"must be a number for `{op}`")
    if isinstance(value, tuple) and len({isinstance(one, str) for one in value}) > 1:
        raise wrong(f"{place}.value", "must hold texts or numbers, not both")
    return TraitIs(name, op, value)


def _tag(body: Mapping[str, object], place: str) -> HasTag:
    only(body, place, "tag")
    return HasTag(text(body["tag"], f"{place}.tag"))


KINDS: dict[str, Callable[[Mapping[str, object], str], Leaf]] = {
    "segment": _segment,
    "change": _change,
    "event": _event,
    "sum": _sum,
    "days_since": _days_since,
    "sequence": _sequence,
    "message": _message,
    "prediction": _prediction,
    "progress": _progress,
    "trait": _trait,
    "tag": _tag,
}
