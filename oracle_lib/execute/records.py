"""Actions as they are read: one, or a page of them, each with what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.errors import Invalid, NotFound
from oracle_lib.execute import tracked_letters
from oracle_lib.storage.tables import (
    ACTION_STATUSES,
    ACTION_TYPES,
    actions,
    outcomes,
    rule_versions,
    segments,
    webhook_inbox,
)

MAX_PAGE = 200


@dataclass(frozen=True)
class Outcome:
    """What came of an action. False: it would be known if it had come; None: nobody would know.

    What becomes of a letter is known once its provider told of it; of one by SMTP, if it was tracked, who opened and
    clicked. A conversion is known where the action's rule has a goal, and a reply only once it came: nothing says that
    there is none.
    """

    opened: bool | None = None
    clicked: bool | None = None
    replied: bool | None = None
    converted: bool | None = None
    bounced: bool | None = None
    complained: bool | None = None


@dataclass(frozen=True)
class Action:
    """One action as it stands. `version` and `content_hash` name what somebody is looking at."""

    id: UUID
    user_id: str
    action_type: str
    status: str
    priority: int
    template: str | None
    subject: str | None
    content: str
    preheader: str | None
    locale: str | None
    address: str | None
    metadata: Mapping[str, object] | None
    content_hash: str
    version: int
    language: str | None
    arm: str | None
    group_edit_id: UUID | None
    message_class: str
    topic: str | None
    triggered_by: str
    trigger_data: Mapping[str, object] | None
    rule_id: UUID | None
    rule_version: int | None
    cause: str | None
    approved_by: str | None
    approved_at: datetime | None
    undo_until: datetime | None
    scheduled_at: datetime | None
    expires_at: datetime | None
    executed_at: datetime | None
    first_attempt_at: datetime | None
    attempts: int
    channel: str | None
    reason: str | None
    created_at: datetime
    updated_at: datetime
    outcome: Outcome


@dataclass(frozen=True)
class Filter:
    """Which actions are meant: all that is named holds of them. `engagement_level` is what their user's is now."""

    status: str | None = None
    user_id: str | None = None
    action_type: str | None = None
    rule_id: UUID | None = None
    message_class: str | None = None
    engagement_level: str | None = None


EVERYTHING = Filter()


@dataclass(frozen=True)
class Page:
    """Some actions, the newest first; `next_cursor` asks for the page after them, None at the end."""

    actions: list[Action]
    next_cursor: str | None


_KINDS = sa.func.array(
    sa.select(outcomes.c.kind).where(outcomes.c.action_id == actions.c.id).correlate(actions).scalar_subquery(),
    type_=sa.ARRAY(sa.Text),
).label("kinds")
_TOLD_BY = (
    sa.select(webhook_inbox.c.provider)
    .where(webhook_inbox.c.action_id == actions.c.id, webhook_inbox.c.kind.is_distinct_from("replied"))
    .limit(1)
    .correlate(actions)
    .scalar_subquery()
    .label("told_by")
)
# Our own tracking sees readers only; a provider tells of all.
_SEEN = ("opened", "clicked")
_TOLD = (*_SEEN, "bounced", "complained")
_HAS_GOAL = (
    sa.exists()
    .where(
        rule_versions.c.rule_id == actions.c.rule_id,
        rule_versions.c.version == actions.c.rule_version,
        rule_versions.c.definition["goal"]["event"].astext.is_not(None),
    )
    .correlate(actions)
    .label("has_goal")
)
_COLUMNS = tuple(actions.c[name] for name in Action.__dataclass_fields__ if name != "outcome")
_ACTIONS = sa.select(*_COLUMNS, _KINDS, _TOLD_BY, _HAS_GOAL)


def get(conn: Connection, action_id: UUID) -> Action:
    """Return one action. Raises `NotFound`."""
    found = of(conn, [action_id])
    if not found:
        raise NotFound(f"There is no action {action_id}.")
    return found[action_id]


def of(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Action]:
    """Return actions by id; one that is not there is left out."""
    return {row.id: _action(row) for row in conn.execute(_some(ids))}


def hold(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Action]:
    """Return the same, and hold them until the transaction ends.

    Whoever holds several takes them in the order of their ids, so that no two wait for each other.
    """
    held = _some(ids).order_by(actions.c.id).with_for_update(of=actions)
    return {row.id: _action(row) for row in conn.execute(held)}


def listing(conn: Connection, which: Filter = EVERYTHING, *, limit: int = 50, cursor: str | None = None) -> Page:
    """Return actions, the newest first, `limit` (1-200) a page. Raises `Invalid` for a filter nothing can match."""
    if not 1 <= limit <= MAX_PAGE:
        raise Invalid(f"`limit` must lie between 1 and {MAX_PAGE}.", field="limit", code="out_of_range")
    query = _ACTIONS.where(*matching(which)).order_by(actions.c.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(actions.c.id < _cursor(cursor))
    found = [_action(row) for row in conn.execute(query)]
    return Page(found[:limit], str(found[limit - 1].id) if len(found) > limit else None)


def matching(which: Filter) -> list[ColumnElement[bool]]:
    """Say which actions are meant. Raises `Invalid` for a word that nothing can match."""
    if which.status is not None:
        _one_of("status", which.status, ACTION_STATUSES)
    if which.action_type is not None:
        _one_of("actionType", which.action_type, ACTION_TYPES)
    named = ("status", "user_id", "action_type", "rule_id", "message_class")
    asked = [actions.c[name] == wanted for name in named if (wanted := getattr(which, name)) is not None]
    if which.engagement_level is not None:
        level = segments.c.engagement_level == which.engagement_level
        asked.append(sa.exists().where(segments.c.user_id == actions.c.user_id, level))
    return asked


def wire_state(action: Action) -> dict[str, object]:
    """Return what a person who came too late is shown, in wire words."""
    return {
        "id": str(action.id),
        "status": action.status,
        "version": action.version,
        "contentHash": action.content_hash,
        "subject": action.subject,
        "content": action.content,
        "preheader": action.preheader,
        "address": action.address,
        "reason": action.reason,
    }


def _some(ids: Sequence[UUID]) -> sa.Select:
    return _ACTIONS.where(actions.c.id == sa.any_(sa.bindparam("ids", list(ids), type_=pg.ARRAY(sa.Uuid))))


def _action(row: sa.Row) -> Action:
    values = row._asdict()
    came, told_by, has_goal = values.pop("kinds"), values.pop("told_by"), values.pop("has_goal")
    measured = ["converted"] if has_goal else []
    if told_by is not None:
        measured += _SEEN if told_by == tracked_letters.CHANNEL else _TOLD
    known = dict.fromkeys(measured, False)
    known |= {kind: True for kind in came if kind in Outcome.__dataclass_fields__}
    return Action(**values, outcome=Outcome(**known))


def _one_of(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise Invalid(f"`{name}` must be one of {', '.join(words)}.", field=name, code="unknown_word")


def _cursor(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise Invalid("`cursor` must be the `nextCursor` of an answer.", field="cursor", code="bad_cursor") from error
