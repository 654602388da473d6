"""What Segment's identify and group say about a person, as a change of the profile.

`email`, `firstName`, `lastName`, `name`, `timezone`, `locale` or `language`, and `createdAt` are fields of the profile,
under any spelling; everything else is a trait. An empty text says nothing, null forgets.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from oracle_lib.errors import Invalid
from oracle_lib.observe import profiles
from oracle_lib.observe.profiles import ProfileChange
from oracle_lib.observe.segment_names import letters

_FIELDS = {
    "email": "email",
    "firstname": "first_name",
    "lastname": "last_name",
    "timezone": "time_zone",
    "locale": "locale",
    "language": "locale",
    "createdat": "joined_at",
}
_IN_MILLISECONDS = 100_000_000_000


def change(traits: Mapping[str, object], context: Mapping[str, object]) -> ProfileChange:
    """Return what an identify changes; the context's zone and locale where no trait says them. Raises `Invalid`."""
    named: dict[str, object] = {}
    rest: dict[str, object] = {}
    for key, value in traits.items():
        field = _FIELDS.get(letters(key))
        if field is None or field in named:
            rest[key] = value
        elif value != "":
            named[field] = _joined_at(value) if field == "joined_at" else _text(key, value)
    if isinstance(rest.get("name"), str) and not {"first_name", "last_name"} & set(named):
        named |= _split(str(rest.pop("name")))
    for field, key in (("time_zone", "timezone"), ("locale", "locale")):
        if field not in named:
            named |= _if_valid(field, context.get(key))
    return profiles.check(ProfileChange(**named, traits=rest))  # type: ignore[arg-type]


def membership(group_id: str, traits: Mapping[str, object] | None) -> ProfileChange:
    """Return what a group call changes: traits `groupId` and, where the group has traits, `group`."""
    return profiles.check(ProfileChange(traits={"groupId": group_id, **({"group": dict(traits)} if traits else {})}))


def _split(name: str) -> dict[str, object]:
    first, _, last = name.strip().partition(" ")
    return {key: value for key, value in (("first_name", first), ("last_name", last.strip())) if value}


def _text(key: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise Invalid(f"`traits.{key}` must be a text.", field=f"traits.{key}", code="wrong_type")


def _joined_at(value: object) -> datetime | None:
    """Read ISO 8601, or seconds or milliseconds since 1970, as senders write them."""
    if value is None:
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > _IN_MILLISECONDS else value, UTC)
        moment = msgspec.convert(value, datetime)
    except (msgspec.ValidationError, ValueError, OverflowError, OSError) as error:
        raise Invalid(
            "`traits.createdAt` must be ISO 8601 or seconds since 1970.", field="traits.createdAt", code="bad_timestamp"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _if_valid(field: str, value: object) -> dict[str, object]:
    """Return a field that a library added by itself, unless it is one a profile cannot hold."""
    if not isinstance(value, str) or not value:
        return {}
    try:
        profiles.check(ProfileChange(**{field: value}))  # type: ignore[arg-type]
    except Invalid:
        return {}
    return {field: value}
