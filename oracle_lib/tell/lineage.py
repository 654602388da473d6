"""From an action back to its events, and on to what came of it: why this user got this message.

The chain is event -> segment -> rule version -> proposal -> approval -> delivery -> outcome. `Step.kind` names the
link, `Step.title` what happened there: a rejection or an undo stands at `approval`, a retry or a failure at
`delivery`. An action made by a person has no event and no rule. Nothing is worked out again: each step is a row that
was written when it happened, and names it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection, Row
from sqlalchemy.dialects.postgresql import distinct_on

from oracle_lib.errors import NotFound
from oracle_lib.storage.tables import action_changes, actions, messages, outcomes, rule_versions, segment_changes
from oracle_lib.tell import cause as causes
from oracle_lib.tell.cause import Kept, Step

LINKS = ("event", "segment", "rule", "proposal", "approval", "delivery", "outcome")
_SENDING = frozenset({"executing", "executed", "unknown", "failed", "skipped"})


@dataclass(frozen=True)
class Lineage:
    """An action's chain, in the order of `LINKS`; within a link by time."""

    action_id: UUID
    user_id: str
    status: str
    cause: str | None
    steps: tuple[Step, ...]


def trace(conn: Connection, action_id: UUID) -> Lineage:
    """Return the chain of one action. Raises `NotFound`."""
    action = conn.execute(sa.select(actions).where(actions.c.id == action_id)).one_or_none()
    if action is None:
        raise NotFound(f"There is no action {action_id}.")
    found = [*_before(conn, action), *_moves(conn, action), *_messages(conn, action_id), *_outcomes(conn, action_id)]
    found.sort(key=lambda step: LINKS.index(step.kind))
    return Lineage(action.id, action.user_id, action.status, action.cause, tuple(found))


def _before(conn: Connection, action: Row) -> Iterator[Step]:
    """Yield what set the action off, what the user was taken for, and the rule as it was published."""
    rule = conn.execute(
        sa.select(rule_versions).where(
            rule_versions.c.rule_id == action.rule_id, rule_versions.c.version == action.rule_version
        )
    ).one_or_none()
    set_off: list[Step] = []
    if action.cause is not None:
        trigger = rule.definition.get("trigger") if rule is not None else None
        cause = causes.parse(action.cause, trigger)
        set_off = causes.steps(conn, action.user_id, cause, _kept(action))
    yield from set_off
    if not any(step.kind == "segment" for step in set_off):
        yield from _segment(conn, action)
    if rule is not None:
        yield _rule(rule, action.triggered_by)


def _kept(action: Row) -> Kept:
    """Return what the proposal kept of the event that fired it."""
    fired = (action.trigger_data or {}).get("fired")
    if not isinstance(fired, Mapping) or not isinstance(fired.get("at"), str):
        return Kept(action.created_at)
    return Kept(action.created_at, fired.get("event"), datetime.fromisoformat(fired["at"]))


def _segment(conn: Connection, action: Row) -> Iterator[Step]:
    """Yield what the user was taken for when the action was made: the last change of each field before it.

    Changes carry the database's time and so does the action's id; `created_at` is the time its run began.
    """
    c = segment_changes.c
    made = sa.func.uuid_extract_timestamp(sa.literal(action.id, sa.Uuid))
    last = (
        sa.select(c.id, c.field, c.new, c.changed_at)
        .ext(distinct_on(c.field))
        .where(c.user_id == action.user_id, c.changed_at <= made)
        .order_by(c.field, c.id.desc())
    )
    fields = conn.execute(last).all()
    if fields:
        newest = max(fields, key=lambda field: field.id)
        known = ", ".join(f"{field.field.replace('_', ' ')} {field.new}" for field in fields if field.new is not None)
        yield Step(
            "segment",
            newest.changed_at,
            "What the user was taken for",
            f"{known.capitalize()}.",
            f"segment_change:{newest.id}",
        )


def _rule(rule: Row, name: str) -> Step:
    said = rule.definition
    return Step(
        "rule",
        rule.published_at,
        f"{said.get('name', name)}, version {rule.version}",
        said.get("description") or "",
        f"rule:{rule.rule_id}@{rule.version}",
    )


def _moves(conn: Connection, action: Row) -> Iterator[Step]:
    moves = conn.execute(
        sa.select(action_changes).where(action_changes.c.action_id == action.id).order_by(action_changes.c.id)
    ).all()
    if not moves or moves[0].old_status is not None:
        yield Step("proposal", action.created_at, "Proposed", _reason(action), f"action:{action.id}")
    for move in moves:
        if move.old_status is None:
            yield Step("proposal", move.at, f"Proposed by {move.actor}", _reason(action), f"action:{action.id}")
            continue
        sending = move.new_status in _SENDING or move.old_status in {"executing", "unknown"}
        yield Step(
            "delivery" if sending else "approval",
            move.at,
            f"{move.verb.replace('_', ' ').capitalize()} by {move.actor}",
            _move_detail(move),
            f"action_change:{move.id}",
        )


def _reason(action: Row) -> str:
    """Say what the rule compared, as the proposal kept it."""
    matched = (action.trigger_data or {}).get("matched")
    if not isinstance(matched, Mapping) or not matched:
        return f"Triggered by {action.triggered_by}."
    compared = ", ".join(f"{name} {'unknown' if value is None else value}" for name, value in matched.items())
    return f"Triggered by {action.triggered_by}: {compared}."


def _move_detail(move: Row) -> str:
    parts = [f"From {move.old_status} to {move.new_status}, version {move.version}."]
    if move.new_status == "approved" and move.old_status == "pending":
        shown = f"Shown was {move.shown_hash}." if move.shown_hash else "The answer did not name what was shown."
        parts.append(shown)
    if move.reason:
        parts.append(move.reason)
    return " ".join(parts)


def _messages(conn: Connection, action_id: UUID) -> Iterator[Step]:
    kept = conn.execute(sa.select(messages).where(messages.c.action_id == action_id)).one_or_none()
    if kept is not None:
        detail = f"Idempotency key {kept.idempotency_key}."
        yield Step("delivery", kept.delivered_at, "Kept as it was sent", detail, f"message:{kept.id}")


def _outcomes(conn: Connection, action_id: UUID) -> Iterator[Step]:
    came = sa.select(outcomes).where(outcomes.c.action_id == action_id).order_by(outcomes.c.at, outcomes.c.kind)
    for one in conn.execute(came):
        reference = f"event:{one.message_id}" if one.message_id else f"outcome:{action_id}/{one.kind}"
        detail = f"Amount {one.amount}." if one.amount is not None else ""
        yield Step("outcome", one.at, one.kind.replace("_", " ").capitalize(), detail, reference)
