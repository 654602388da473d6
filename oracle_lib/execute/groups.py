"""What waits, by the template it comes from, and the edit of a template for everybody for whom it waits.

A group is what is pending of one version of a rule, of one arm of its experiment and in one language, with the same
words: the rule's own or those of the same edit. What somebody edited alone belongs to none. An edit is checked as at
publishing; each recipient's message is filled in again with their own facts as they stood when it was proposed, and is
to be reviewed again. The rule's published template stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.decide import rule_versions, templates
from oracle_lib.decide.definition import Words
from oracle_lib.errors import Conflict, Invalid
from oracle_lib.execute import approvals, moves, records
from oracle_lib.execute.moves import Seen
from oracle_lib.execute.records import Action
from oracle_lib.storage.tables import actions, group_edits, users

_KEY = (
    actions.c.rule_id,
    actions.c.rule_version,
    actions.c.arm,
    actions.c.language,
    actions.c.group_edit_id,
    actions.c.action_type,
)


@dataclass(frozen=True)
class GroupKey:
    """What names a group; `group_edit_id` None: the words are the rule's own."""

    rule_id: UUID
    rule_version: int
    arm: str | None
    language: str | None
    group_edit_id: UUID | None


@dataclass(frozen=True)
class Group:
    """Some pending actions of one template; the sample is the most urgent of them."""

    key: GroupKey
    rule_name: str
    action_type: str
    subject: str | None
    content: str
    preheader: str | None
    count: int
    oldest: datetime
    first_expires_at: datetime | None
    sample: Action


@dataclass(frozen=True)
class Recipient:
    """What an edit made of one action: `unfit` could not be filled in and keeps its words, `detail` says why."""

    id: UUID
    user_id: str
    result: Literal["edited", "unfit"]
    version: int
    content_hash: str
    detail: str | None


@dataclass(frozen=True)
class GroupEdit:
    """An edit and what it made of each action; the group has its id from now on."""

    id: UUID
    recipients: list[Recipient]


def listing(conn: Connection) -> list[Group]:
    """Return every group, the one with the most urgent action first, then the largest."""
    urgent = pg.aggregate_order_by(actions.c.id, actions.c.priority.desc(), actions.c.id)
    asked = (
        sa.select(
            *_KEY,
            sa.func.count().label("size"),
            sa.func.min(actions.c.created_at).label("oldest"),
            sa.func.min(actions.c.expires_at).label("first_expires_at"),
            sa.func.array_agg(urgent, type_=sa.ARRAY(sa.Uuid))[1].label("sample"),
        )
        .where(_grouped())
        .group_by(*_KEY)
        .order_by(sa.func.max(actions.c.priority).desc(), sa.func.count().desc(), actions.c.rule_id)
    )
    rows = conn.execute(asked).all()
    samples = records.of(conn, [row.sample for row in rows])
    made = []
    for row in rows:
        key = GroupKey(row.rule_id, row.rule_version, row.arm, row.language, row.group_edit_id)
        name, words = _template(conn, key)
        made.append(
            Group(
                key,
                name,
                row.action_type,
                words.subject,
                words.content,
                words.preheader,
                row.size,
                row.oldest,
                row.first_expires_at,
                samples[row.sample],
            )
        )
    return made


def edit(conn: Connection, key: GroupKey, words: Words, *, actor: str, now: datetime) -> GroupEdit:
    """Put another template in the place of a group's own, and fill it in for each recipient again.

    Raises `Invalid` for a template that could not be published or fits nobody, and `Conflict` where nothing of the
    group waits any more.
    """
    for field in ("content", "subject", "preheader"):
        if (template := getattr(words, field)) is not None:
            templates.check(template, field=field)
    held = records.hold(conn, list(conn.scalars(sa.select(actions.c.id).where(_grouped(), *_of(key)))))
    waiting = {one.id: one for one in held.values() if _is_of(one, key)}
    if not waiting:
        raise Conflict("Nothing of this group waits any more, or somebody has edited it; look at it again.")
    values = {
        "rule_id": key.rule_id,
        "rule_version": key.rule_version,
        "arm": key.arm,
        "language": key.language,
        "subject": words.subject,
        "content": words.content,
        "preheader": words.preheader,
        "edited_by": actor,
        "at": now,
    }
    edit_id = conn.scalars(sa.insert(group_edits).values(values).returning(group_edits.c.id)).one()
    rewritten, unfit = _fill_in(conn, waiting, words, edit_id)
    if not rewritten:
        raise Invalid(next(iter(unfit.values())), field="content", code="bad_template")
    asked = {action_id: Seen(waiting[action_id].version) for action_id in rewritten}
    made = moves.make(conn, asked, lambda standing: rewritten[standing.id], actor=actor, now=now)
    recipients = [_recipient(became, "edited", None) for became in made.values() if isinstance(became, Action)] + [
        _recipient(waiting[action_id], "unfit", why) for action_id, why in unfit.items()
    ]
    return GroupEdit(edit_id, recipients)


def _fill_in(
    conn: Connection, waiting: Mapping[UUID, Action], words: Words, edit_id: UUID
) -> tuple[dict[UUID, moves.Move], dict[UUID, str]]:
    """Return what the words make of each action, and why of those for whom they cannot be filled in."""
    people = {one.user_id for one in waiting.values()}
    asked = sa.select(users.c.id, users.c.first_name, users.c.last_name).where(
        users.c.id == sa.any_(sa.bindparam("people", list(people), type_=pg.ARRAY(sa.Text)))
    )
    names = {row.id: {"first_name": row.first_name, "last_name": row.last_name} for row in conn.execute(asked)}
    rewritten: dict[UUID, moves.Move] = {}
    unfit: dict[UUID, str] = {}
    for action_id, standing in waiting.items():
        facts = {**dict.fromkeys(templates.FACTS), **_facts(standing), **names.get(standing.user_id, {})}
        try:
            filled = words.filled_in(facts)
            rewritten[action_id] = approvals.rewriting(standing, filled, group_edit_id=edit_id)
        except Invalid as error:
            unfit[action_id] = str(error)
    return rewritten, unfit


def _facts(standing: Action) -> Mapping[str, object]:
    kept = (standing.trigger_data or {}).get("facts")
    return kept if isinstance(kept, Mapping) else {}


def _recipient(standing: Action, result: Literal["edited", "unfit"], detail: str | None) -> Recipient:
    return Recipient(standing.id, standing.user_id, result, standing.version, standing.content_hash, detail)


def _template(conn: Connection, key: GroupKey) -> tuple[str, Words]:
    """Return the rule's name and the template that the group's words come from."""
    said = rule_versions.get(conn, key.rule_id, key.rule_version).definition
    if key.group_edit_id is None:
        return said.name, said.message(key.arm).words_in(key.language)
    edited = conn.execute(sa.select(group_edits).where(group_edits.c.id == key.group_edit_id)).one()
    return said.name, Words(edited.content, edited.subject, edited.preheader)


def _grouped() -> ColumnElement[bool]:
    """Say which actions belong to a group."""
    own = sa.and_(actions.c.version == 1, actions.c.group_edit_id.is_(None))
    return sa.and_(
        actions.c.status == "pending",
        actions.c.rule_id.is_not(None),
        actions.c.rule_version.is_not(None),
        sa.or_(own, actions.c.group_edit_id.is_not(None)),
    )


def _is_of(held: Action, key: GroupKey) -> bool:
    """Say the same of one that is held: it may have been answered or edited since it was asked for."""
    unedited = key.group_edit_id is not None or held.version == 1
    return held.status == "pending" and held.group_edit_id == key.group_edit_id and unedited


def _of(key: GroupKey) -> list[ColumnElement[bool]]:
    return [
        actions.c.rule_id == key.rule_id,
        actions.c.rule_version == key.rule_version,
        actions.c.arm.is_not_distinct_from(key.arm),
        actions.c.language.is_not_distinct_from(key.language),
        actions.c.group_edit_id.is_not_distinct_from(key.group_edit_id),
    ]
