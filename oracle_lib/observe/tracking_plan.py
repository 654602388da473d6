"""The tracking plan: what an event's metadata should look like, agreed on per event name, as a JSON schema.

An event that breaks its schema is taken with a warning, or refused and kept like any other refused one, as the plan
says. An event without a schema is not looked at. A schema may not refer to anything outside itself: nothing is fetched.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

from oracle_lib.errors import Invalid, NotFound
from oracle_lib.observe import catalogue, wire
from oracle_lib.observe.wire import Event, encode_facts
from oracle_lib.storage.tables import audit_log, tracking_plan

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Mode = Literal["warn", "reject"]
# As many violations of one event are told.
MOST_TOLD = 3
# What Segment's messages carry beside what their sender put into them.
_ADDED = ("context", "originalEvent")
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REFERRING = ("$ref", "$dynamicRef", "$id", "$schema", "$vocabulary", "$anchor", "$dynamicAnchor")


@dataclass(frozen=True)
class Entry:
    """What is agreed on for one event name: a JSON schema (draft 2020-12) of its metadata, and the mode."""

    event: str
    schema: Mapping[str, Any]
    mode: Mode
    updated_at: datetime
    updated_by: str


@dataclass(frozen=True)
class Violation:
    """What the plan has against an event: the field, such as `metadata.courseId`, and why, in a sentence."""

    field: str
    detail: str


@dataclass(frozen=True, eq=False)
class Plan:
    """The whole plan, ready to check events with. Two are equal only if they are the same object."""

    validators: Mapping[str, tuple[Mode, "Validator"]] = field(default_factory=dict)

    def warnings(self, event: Event) -> list[Violation]:
        """Return what is wrong with an event that is taken all the same. Raises `Invalid` if it is to be refused."""
        if event.event not in self.validators:
            return []
        mode, validator = self.validators[event.event]
        found = _violations(validator, _facts(event))
        if found and mode == "reject":
            told = " ".join(one.detail for one in found[:MOST_TOLD])
            raise Invalid(f"The tracking plan refuses it: {told}", field=found[0].field, code="off_plan")
        return found[:MOST_TOLD]


NO_PLAN = Plan()


def put(conn: Connection, event: str, schema: Mapping[str, Any], mode: Mode, *, by: str, now: datetime) -> Entry:
    """Agree on an event's schema, in place of the one before. Raises `Invalid` for a schema that is none."""
    if not catalogue.is_valid_name(event):
        raise Invalid("`event` must be snake_case, e.g. `lesson_complete`.", field="event", code="bad_event_name")
    encode_facts("schema", dict(schema))
    _validator(schema)
    row = {"event": event, "schema": dict(schema), "mode": mode, "updated_at": now, "updated_by": by}
    insert = postgresql.insert(tracking_plan).values(row)
    conn.execute(insert.on_conflict_do_update(index_elements=["event"], set_=row))
    _audit(conn, event, "tracking_plan.put", by=by, now=now, detail={"mode": mode, "schema": dict(schema)})
    return Entry(event, schema, mode, now, by)


def remove(conn: Connection, event: str, *, by: str, now: datetime) -> None:
    """Agree on nothing for an event. Raises `NotFound`."""
    if conn.execute(sa.delete(tracking_plan).where(tracking_plan.c.event == event)).rowcount == 0:
        raise NotFound(f"The tracking plan says nothing of {event[:100]!r}.")
    _audit(conn, event, "tracking_plan.removed", by=by, now=now, detail=None)


def listing(conn: Connection) -> list[Entry]:
    """Return the plan, by event name."""
    rows = conn.execute(sa.select(tracking_plan).order_by(tracking_plan.c.event))
    return [Entry(row.event, row.schema, row.mode, row.updated_at, row.updated_by) for row in rows]


def load(conn: Connection) -> Plan:
    """Return the plan as events are checked with it."""
    entries = listing(conn)
    return Plan({one.event: (one.mode, _validator(one.schema)) for one in entries}) if entries else NO_PLAN


def _audit(
    conn: Connection, event: str, verb: str, *, by: str, now: datetime, detail: Mapping[str, Any] | None
) -> None:
    row = {"at": now, "actor": by, "verb": verb, "subject": f"event:{event}", "detail": detail}
    conn.execute(sa.insert(audit_log).values(row))


def _validator(schema: Mapping[str, Any]) -> "Validator":
    """Compile a schema. Raises `Invalid` with the place for one that is not a schema or looks outside itself."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise Invalid(f"`{error.json_path.replace('$', 'schema', 1)}`: {error.message}.", field="schema") from error
    registry = Registry()
    resolver = registry.resolver_with_root(DRAFT202012.create_resource(dict(schema)))
    for keyword, value in _references(schema):
        if keyword != "$ref" or not value.startswith("#"):
            raise Invalid(
                f"`schema` has `{keyword}` {value[:100]!r}; it may refer to its own `$defs` only.", field="schema"
            )
        try:
            resolver.lookup(value)
        except Unresolvable as error:
            raise Invalid(f"`schema` refers to {value[:100]!r}, which is not in it.", field="schema") from error
    return Draft202012Validator(schema, registry=registry)


def _references(schema: object) -> Iterator[tuple[str, str]]:
    """Yield every keyword by which a schema refers to another, with what it refers to."""
    match schema:
        case Mapping():
            for name, value in schema.items():
                if name in _REFERRING and isinstance(value, str) and value != _DRAFT:
                    yield name, value
                yield from _references(value)
        case list():
            for item in schema:
                yield from _references(item)


def _facts(event: Event) -> Mapping[str, object]:
    """Return the metadata as its sender gave it."""
    facts: dict[str, object] = {} if event.metadata is None else msgspec.json.decode(event.metadata)
    if event.source == wire.SEGMENT:
        return {name: value for name, value in facts.items() if name not in _ADDED}
    return facts


def _violations(validator: "Validator", facts: Mapping[str, object]) -> list[Violation]:
    try:
        return sorted(map(_violation, validator.iter_errors(facts)), key=lambda one: (one.field, one.detail))
    except RecursionError:
        return [Violation("metadata", "`metadata`: the schema refers to itself without end.")]


def _violation(error: Any) -> Violation:
    place = ".".join(["metadata", *map(str, error.absolute_path)])
    if error.validator == "required":
        missing = [name for name in error.validator_value if error.message.startswith(repr(name))]
        place = ".".join([place, *missing[:1]])
    return Violation(place, f"`{place}`: {error.message[:200]}.")
