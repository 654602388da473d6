"""The values that may stand in a condition, each checked; a refusal is `Invalid` whose `field` is the place."""

import re
from collections.abc import Mapping

from oracle_lib.decide.conditions.tree import Value
from oracle_lib.errors import Invalid
from oracle_lib.observe import catalogue

MAX_DAYS = 3650
MAX_ITEMS = 100
MAX_TEXT = 200
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in")
COUNTING = ("=", "!=", "<", "<=", ">", ">=")

_LARGEST = 10**12
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


def operator(body: Mapping[str, object], place: str, allowed: tuple[str, ...] = COUNTING) -> str:
    """Return `op`, one of those allowed; `==` is read as `=`."""
    op = body.get("op")
    op = "=" if op == "==" else op
    if not isinstance(op, str) or op not in allowed:
        raise wrong(f"{place}.op", f"must be one of {' '.join(allowed)}")
    return op


def value_of(body: Mapping[str, object], op: str, place: str) -> Value:
    """Return `value`: a tuple for `in`, None (with = and != only) where it asks for the unknown."""
    if "value" not in body:
        raise wrong(f"{place}.value", "is missing")
    value = body["value"]
    if op == "in":
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_ITEMS:
            raise wrong(f"{place}.value", f"must be a list of 1 to {MAX_ITEMS} values for `in`")
        items = tuple(_scalar(one, f"{place}.value[{index}]") for index, one in enumerate(value))
        return tuple(one for one in items if one is not None and not isinstance(one, bool))
    scalar = _scalar(value, f"{place}.value") if value is not None else None
    if scalar is None and op not in {"=", "!="}:
        raise wrong(f"{place}.value", "may be null only with = and !=")
    return scalar


def _scalar(value: object, place: str) -> str | int | float | bool | None:
    match value:
        case bool():
            if place.endswith("]"):
                raise wrong(place, "must be a text or a number")
            return value
        case int() | float():
            # In this order also for NaN, and for integers too large to be a float.
            if not -_LARGEST <= value <= _LARGEST:
                raise wrong(place, "must be a finite number of at most 12 digits")
            return value
        case str():
            return text(value, place)
    raise wrong(place, "must be a text, a number or true/false")


def text(value: object, place: str) -> str:
    """Return a text that the database can hold."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
        raise wrong(place, f"must be a text of 1 to {MAX_TEXT} characters")
    if _FORBIDDEN.search(value):
        raise wrong(place, "holds a NUL or half a surrogate pair")
    return value


def event_name(value: object, place: str) -> str:
    """Return the name of an event, known or not."""
    if not isinstance(value, str) or not catalogue.is_valid_name(value):
        raise wrong(place, "must be the snake_case name of an event")
    return value


def whole(value: object, place: str, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise wrong(place, f"must be a whole number from {low} to {high}")
    return value


def days(value: object, place: str) -> int:
    """Return the days of a window."""
    return whole(value, place, 1, MAX_DAYS)


def any_days(body: Mapping[str, object], place: str) -> int | None:
    """Return `within_days`; None, where it is left out, is all of history."""
    within = body.get("within_days")
    return None if within is None else days(within, f"{place}.within_days")


def one_of(value: object, place: str, words: tuple[str, ...]) -> str:
    """Return one of the words."""
    if not isinstance(value, str) or value not in words:
        raise wrong(place, f"must be one of {', '.join(words)}")
    return value


def mapping(value: object, place: str, example: str) -> Mapping[str, object]:
    """Return an object."""
    if not isinstance(value, Mapping):
        raise wrong(place, f"must be an object such as {example}")
    return value


def only(body: Mapping[str, object], place: str, *names: str) -> None:
    """Refuse every other name."""
    for name in body:
        if name not in names:
            raise wrong(f"{place}.{name}", f"is not known here; known are {', '.join(names)}")


def wrong(place: str, problem: str) -> Invalid:
    """Return the refusal of a place."""
    return Invalid(f"`{place}` {problem}.", field=place, code="bad_condition")
