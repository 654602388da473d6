"""The moves of an action that people and policies make; each is one transition of exactly what was seen.

    pending ──approve──> approved ──claim──> executing        (from there on: executor.py)
       │ ^──undo, before the first claim──┘ │
       ├─reject─> rejected                  ├─cancel─> cancelled
       ├─expire─> expired                   ├─expire─> expired
       ├─newer proposal─> superseded        └─done by hand─> executed
       ├─done by hand─> executed
       └─edit: stays pending, version + 1                unknown ──settle──> executed | failed | approved

A move holds the row, compares status, version and content hash, and writes its row of history in the same transaction;
a trigger refuses every other edge, whoever asks. Whoever comes too late gets `Conflict` with the current state.
Approving freezes the bytes that will be sent. Guarantee G5: `tests/guarantees/test_g5_*.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql as pg

from oracle_lib.decide import content
from oracle_lib.decide.definition import ADDRESSES
from oracle_lib.errors import Conflict, Invalid, NotFound
from oracle_lib.execute import best_time
from oracle_lib.execute.history import record
from oracle_lib.execute.records import Action, get, wire_state
from oracle_lib.storage.tables import ACTION_TYPES, actions, audit_log, rules, users

MAX_SUBJECT = 255
MAX_CONTENT = 20_000
MAX_REASON = 1000
POLICY = "policy"
_AT_ONCE = 1000


@dataclass(frozen=True)
class Seen:
    """What the person was looking at. A part that is None was not named, and is not compared."""

    version: int | None = None
    content_hash: str | None = None


UNSEEN = Seen()


@dataclass(frozen=True)
class Draft:
    """An action somebody or something asks for. `scheduled_at` None: as soon as it is approved."""

    user_id: str
    action_type: str
    content: str
    subject: str | None = None
    template: str | None = None
    priority: int = 5
    scheduled_at: datetime | None = None
    triggered_by: str = "manual"
    metadata: dict[str, object] | None = None
    message_class: str = "marketing"
    address: str | None = None


def create(conn: Connection, draft: Draft, *, actor: str, now: datetime, expiry: timedelta | None = None) -> Action:
    """Store a pending action; after `expiry` it waits no longer (None: for ever).

    Raises `Invalid` for what cannot be sent, `NotFound` for an unknown user.
    """
    _check(draft)
    if conn.scalar(sa.select(users.c.id).where(users.c.id == draft.user_id)) is None:
        raise NotFound(f"There is no user {draft.user_id!r}; send an event or a profile first.")
    values = {
        "user_id": draft.user_id,
        "action_type": draft.action_type,
        "content": draft.content,
        "subject": draft.subject,
        "template": draft.template,
        "priority": draft.priority,
        "scheduled_at": draft.scheduled_at,
        "triggered_by": draft.triggered_by,
        "metadata": sa.null() if draft.metadata is None else draft.metadata,
        "message_class": draft.message_class,
        "address": draft.address,
        "content_hash": content.content_hash(_payload(draft, draft.subject, draft.content)),
        "created_at": now,
        "updated_at": now,
        "expires_at": None if expiry is None else max(now, draft.scheduled_at or now) + expiry,
    }
    action_id = conn.scalars(sa.insert(actions).values(values).returning(actions.c.id)).one()
    made = get(conn, action_id)
    record(conn, made.id, "created", actor=actor, old=None, new="pending", version=1, at=now)
    _audit(conn, made, "created", actor, now)
    return made


def approve(conn: Connection, action_id: UUID, *, actor: str, now: datetime, seen: Seen = UNSEEN) -> Action:
    """Approve a pending action: freeze what will be sent. It does not expire before its expiry has run once more."""
    standing = _standing(conn, action_id, ("pending",), seen, "approved")
    sealed = _payload(standing, standing.subject, standing.content)
    best = sa.select(best_time.next_moment(now)).where(actions.c.id == action_id)
    scheduled_at = standing.scheduled_at or conn.scalar(best)
    waits = None
    if standing.expires_at is not None:
        due = max(now, scheduled_at or now)
        waits = due + (standing.expires_at - max(standing.created_at, standing.scheduled_at or standing.created_at))
    changed = {
        "approved_by": actor,
        "approved_at": now,
        "approved_hash": standing.content_hash,
        "payload": sealed,
        "scheduled_at": scheduled_at,
        "expires_at": waits,
    }
    return _move(conn, standing, "approved", changed, actor=actor, now=now, seen=seen)


def reject(
    conn: Connection, action_id: UUID, *, actor: str, now: datetime, reason: str | None, seen: Seen = UNSEEN
) -> Action:
    """Refuse a pending action for good; nothing is proposed again for its cause."""
    standing = _standing(conn, action_id, ("pending",), seen, "rejected")
    changed = {"reason": _reason(reason)}
    return _move(conn, standing, "rejected", changed, actor=actor, now=now, seen=seen, reason=reason)


def cancel(
    conn: Connection, action_id: UUID, *, actor: str, now: datetime, reason: str | None = None, seen: Seen = UNSEEN
) -> Action:
    """Stop an approved action that no executor has in hand."""
    standing = _standing(conn, action_id, ("approved",), seen, "cancelled")
    changed = {"reason": _reason(reason)}
    return _move(conn, standing, "cancelled", changed, actor=actor, now=now, seen=seen, reason=reason)


def undo(conn: Connection, action_id: UUID, *, actor: str, now: datetime, seen: Seen = UNSEEN) -> Action:
    """Take an approval back. After the first claim it is too late: the words may be on their way."""
    standing = _standing(conn, action_id, ("approved",), seen, "pending")
    if standing.attempts > 0:
        raise _too_late(standing, "taken back: it was tried already")
    changed = {"approved_by": None, "approved_at": None, "approved_hash": None, "payload": None}
    return _move(conn, standing, "pending", changed, actor=actor, now=now, seen=seen, verb="undone")


def done_by_hand(
    conn: Connection, action_id: UUID, *, actor: str, now: datetime, note: str, seen: Seen = UNSEEN
) -> Action:
    """Record that a person did it themselves; nothing is sent. `note` says how."""
    standing = _standing(conn, action_id, ("pending", "approved"), seen, "executed")
    changed = {"executed_at": now, "channel": "hand", "reason": _reason(note)}
    return _move(conn, standing, "executed", changed, actor=actor, now=now, seen=seen, verb="done_by_hand", reason=note)


def settle(
    conn: Connection, action_id: UUID, became: str, *, actor: str, now: datetime, note: str, seen: Seen = UNSEEN
) -> Action:
    """Say what became of an action nobody knows of: it arrived (`executed`), it did not (`failed`), or try it again.

    `became` is executed, failed or approved. Trying again is a person's decision: whoever got it once may get it twice.
    """
    if became not in {"executed", "failed", "approved"}:
        raise Invalid("`status` must be executed, failed or approved to settle an unknown action.", field="status")
    standing = _standing(conn, action_id, ("unknown",), seen, became)
    changed: dict[str, object] = {"reason": _reason(note)}
    if became == "executed":
        changed["executed_at"] = now
    if became == "approved":
        changed |= {"next_attempt_at": None, "first_attempt_at": None, "expires_at": None}
    return _move(conn, standing, became, changed, actor=actor, now=now, seen=seen, verb="settled", reason=note)


def edit(
    conn: Connection,
    action_id: UUID,
    *,
    actor: str,
    now: datetime,
    subject: str | None,
    text: str,
    seen: Seen = UNSEEN,
) -> Action:
    """Change the words of a pending action; whoever looks at the old ones can no longer approve them."""
    standing = _standing(conn, action_id, ("pending",), seen, "edited")
    _check_words(standing.action_type, subject, text)
    sealed = _payload(standing, subject, text)
    changed = {
        "subject": subject,
        "content": text,
        "content_hash": content.content_hash(sealed),
        "version": standing.version + 1,
    }
    return _move(conn, standing, "pending", changed, actor=actor, now=now, seen=seen, verb="edited")


def expire(conn: Connection, now: datetime) -> int:
    """Expire what waited too long, pending or approved; what was tried already is left to its retries."""
    moved = (
        sa.update(actions)
        .where(actions.c.status.in_(["pending", "approved"]), actions.c.expires_at <= now, actions.c.attempts == 0)
        .values(status="expired", updated_at=now)
        .returning(actions.c.id, sa.literal_column("old.status"), actions.c.version)
    )
    rows = conn.execute(moved).all()
    for old in ("pending", "approved"):
        ids = [action_id for action_id, was, _ in rows if was == old]
        record(conn, ids, "expired", actor="oracle", old=old, new="expired", at=now)
    return len(rows)


def approve_by_policy(conn: Connection, now: datetime) -> int:
    """Approve what rules with approval `auto` propose: their own text, unedited, never one an AI wrote."""
    query = (
        sa.select(
            actions.c.id,
            actions.c.user_id,
            actions.c.action_type,
            actions.c.subject,
            actions.c.content,
            actions.c.address,
        )
        .join(rules, rules.c.id == actions.c.rule_id)
        .where(
            actions.c.status == "pending",
            actions.c.version == 1,
            rules.c.approval == "auto",
            rules.c.is_active,
            rules.c.paused_at.is_(None),
            rules.c.archived_at.is_(None),
            rules.c.version == actions.c.rule_version,
            actions.c.triggered_by != "ai_decision",
        )
        .order_by(actions.c.id)
        .limit(_AT_ONCE)
        .with_for_update(of=actions, skip_locked=True)
    )
    rows = conn.execute(query).all()
    if not rows:
        return 0
    sealed = [_payload(row, row.subject, row.content) for row in rows]
    frozen = (
        sa.func.unnest(
            sa.bindparam("ids", [row.id for row in rows], type_=pg.ARRAY(sa.Uuid)),
            sa.bindparam("payloads", sealed, type_=pg.ARRAY(pg.BYTEA)),
            sa.bindparam("hashes", [content.content_hash(one) for one in sealed], type_=pg.ARRAY(sa.Text)),
        )
        .table_valued(
            sa.column("id", sa.Uuid), sa.column("payload", pg.BYTEA), sa.column("hash", sa.Text), name="frozen"
        )
        .render_derived()
    )
    moved = (
        sa.update(actions)
        .where(actions.c.id == frozen.c.id, actions.c.content_hash == frozen.c.hash, actions.c.status == "pending")
        .values(
            status="approved",
            approved_by=POLICY,
            approved_at=now,
            approved_hash=actions.c.content_hash,
            payload=frozen.c.payload,
            scheduled_at=sa.func.coalesce(actions.c.scheduled_at, best_time.next_moment(now)),
            updated_at=now,
        )
        .returning(actions.c.id)
    )
    ids = list(conn.execute(moved).scalars())
    record(conn, ids, "approved", actor=POLICY, old="pending", new="approved", at=now)
    return len(ids)


def _standing(conn: Connection, action_id: UUID, legal: tuple[str, ...], seen: Seen, wanted: str) -> Action:
    """Hold the row and compare it with what was seen."""
    standing = get(conn, action_id, for_update=True)
    if standing.status not in legal:
        raise _too_late(standing, wanted)
    if seen.version is not None and seen.version != standing.version:
        raise _too_late(standing, f"{wanted} as version {seen.version}")
    if seen.content_hash is not None and seen.content_hash != standing.content_hash:
        raise _too_late(standing, f"{wanted} as it was seen: its words have changed")
    return standing


def _move(
    conn: Connection,
    standing: Action,
    status: str,
    changed: Mapping[str, object],
    *,
    actor: str,
    now: datetime,
    seen: Seen,
    verb: str | None = None,
    reason: str | None = None,
) -> Action:
    """Compare and set, with the history and the audit row."""
    done = conn.execute(
        sa.update(actions)
        .where(
            actions.c.id == standing.id,
            actions.c.status == standing.status,
            actions.c.version == standing.version,
            actions.c.content_hash == standing.content_hash,
        )
        .values(**changed, status=status, updated_at=now)
    )
    if done.rowcount == 0:
        raise _too_late(get(conn, standing.id), status)
    moved = get(conn, standing.id)
    record(
        conn,
        standing.id,
        verb or status,
        actor=actor,
        old=standing.status,
        new=status,
        version=moved.version,
        shown_hash=seen.content_hash or (standing.content_hash if seen.version is not None else None),
        reason=reason,
        at=now,
    )
    _audit(conn, moved, verb or status, actor, now)
    return moved


def _audit(conn: Connection, action: Action, verb: str, actor: str, now: datetime) -> None:
    detail = {"version": action.version, "contentHash": action.content_hash}
    conn.execute(
        sa.insert(audit_log).values(
            at=now, actor=actor, verb=f"action.{verb}", subject=f"action:{action.id}", detail=detail
        )
    )


def _too_late(standing: Action, wanted: str) -> Conflict:
    return Conflict(
        f"The action is {standing.status} at version {standing.version} and cannot be {wanted}; look at it again.",
        current=wire_state(standing),
    )


def _payload(about: Draft | Action | sa.Row, subject: str | None, text: str) -> bytes:
    return content.payload(
        user_id=about.user_id, action_type=about.action_type, subject=subject, content=text, address=about.address
    )


def _check(draft: Draft) -> None:
    if draft.action_type not in ACTION_TYPES:
        raise Invalid(f"`actionType` must be one of {', '.join(ACTION_TYPES)}.", field="actionType")
    if not 1 <= draft.priority <= 10:
        raise Invalid("`priority` must lie between 1 and 10.", field="priority")
    if draft.message_class not in {"marketing", "transactional"}:
        raise Invalid("`messageClass` must be marketing or transactional.", field="messageClass")
    if draft.scheduled_at is not None and draft.scheduled_at.tzinfo is None:
        raise Invalid("`scheduledAt` must name its time zone.", field="scheduledAt")
    _words("triggeredBy", draft.triggered_by, 200)
    if draft.template is not None:
        _words("template", draft.template, 200)
    if draft.address is not None:
        if draft.action_type not in ADDRESSES:
            raise Invalid("`address` is of a post or an alert; other actions go to the user.", field="address")
        _words("address", draft.address, 200)
    _check_words(draft.action_type, draft.subject, draft.content)


def _check_words(action_type: str, subject: str | None, text: str) -> None:
    _words("content", text, MAX_CONTENT)
    if subject is not None:
        _words("subject", subject, MAX_SUBJECT)
        if not subject.isprintable():
            raise Invalid("`subject` must be one line without control characters.", field="subject")
    elif action_type == "email":
        raise Invalid("`subject` is missing; an email has one.", field="subject")


def _words(name: str, value: str, longest: int) -> None:
    if not value.strip() or len(value) > longest:
        raise Invalid(f"`{name}` must have 1 to {longest} characters.", field=name)
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Invalid(f"`{name}` holds a NUL or half a surrogate pair.", field=name, code="bad_character")


def _reason(text: str | None) -> str | None:
    if text is not None:
        _words("reason", text, MAX_REASON)
    return text
