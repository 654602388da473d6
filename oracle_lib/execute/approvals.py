"""The moves of an action that people make; each is one transition of exactly what was seen.

    pending ──approve──> approved ──claim──> executing        (from there on: executor.py)
       │ ^──undo, before the first try────┘ │
       ├─reject─> rejected                  ├─cancel─> cancelled, or unknown where a try may have arrived
       ├─expire─> expired                   ├─expire─> expired
       ├─newer proposal─> superseded        └─done by hand─> executed
       ├─done by hand─> executed
       └─edit: stays pending, version + 1                unknown ──settle──> executed | failed | approved

`moves.py` carries them out, `policies.py` expires and approves by itself, `groups.py` edits many at once. A trigger
refuses every other edge, whoever asks. Whoever comes too late gets `Conflict` with the current state. Approving freezes
the bytes that will be sent. Guarantee G5: `tests/guarantees/test_g5_*.py`.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import content
from oracle_lib.decide.definition import ADDRESSES, MAX_TOPIC, Words
from oracle_lib.errors import Invalid, NotFound
from oracle_lib.execute import best_time
from oracle_lib.execute.history import record
from oracle_lib.execute.moves import UNSEEN, Move, Plan, Seen, audit, make_one, must_be, too_late
from oracle_lib.execute.records import Action, get
from oracle_lib.storage.tables import ACTION_TYPES, actions, users

MAX_SUBJECT = MAX_PREHEADER = 255
MAX_CONTENT = 20_000
MAX_REASON = 1000
Settled = Literal["executed", "failed", "approved"]


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
    topic: str | None = None
    address: str | None = None
    preheader: str | None = None
    # Set by `create`: the user's own.
    locale: str | None = None


@dataclass(frozen=True)
class Settlement:
    """What a person found out of an `unknown` action: `executed` it arrived, `failed` it did not, `approved` try again.

    `note` says how they know. Trying again is theirs to decide: whoever got it once may get it twice, and they say so.
    """

    became: Settled
    note: str
    may_arrive_twice: bool = False


def create(conn: Connection, draft: Draft, *, actor: str, now: datetime, expiry: timedelta | None = None) -> Action:
    """Store a pending action; after `expiry` it waits no longer (None: for ever).

    Raises `Invalid` for what cannot be sent, `NotFound` for an unknown user.
    """
    _check(draft)
    user = conn.execute(sa.select(users.c.locale).where(users.c.id == draft.user_id)).one_or_none()
    if user is None:
        raise NotFound(f"There is no user {draft.user_id!r}; send an event or a profile first.")
    draft = replace(draft, locale=user.locale)
    values = {
        "user_id": draft.user_id,
        "action_type": draft.action_type,
        "content": draft.content,
        "subject": draft.subject,
        "preheader": draft.preheader,
        "locale": draft.locale,
        "template": draft.template,
        "priority": draft.priority,
        "scheduled_at": draft.scheduled_at,
        "triggered_by": draft.triggered_by,
        "metadata": sa.null() if draft.metadata is None else draft.metadata,
        "message_class": draft.message_class,
        "topic": draft.topic,
        "address": draft.address,
        "content_hash": content.content_hash(payload(draft)),
        "created_at": now,
        "updated_at": now,
        "expires_at": None if expiry is None else max(now, draft.scheduled_at or now) + expiry,
    }
    action_id = conn.scalars(sa.insert(actions).values(values).returning(actions.c.id)).one()
    made = get(conn, action_id)
    record(conn, made.id, "created", actor=actor, old=None, new="pending", version=1, at=now)
    audit(conn, made, "created", actor, now)
    return made


def approve(
    conn: Connection,
    action_id: UUID,
    *,
    actor: str,
    now: datetime,
    seen: Seen = UNSEEN,
    undo: timedelta = timedelta(0),
) -> Action:
    """Approve a pending action: freeze what will be sent; for `undo` it is not sent yet.

    It does not expire before its expiry has run once more.
    """
    return make_one(conn, action_id, seen, approval(conn, [action_id], actor, now, undo), actor=actor, now=now)


def approval(
    conn: Connection, ids: Collection[UUID], actor: str, now: datetime, undo: timedelta = timedelta(0)
) -> Plan:
    """Return what approving makes of each of these actions."""
    best = best_time.moments(conn, ids, now)

    def plan(standing: Action) -> Move:
        must_be(standing, ("pending",), "approved")
        scheduled_at = standing.scheduled_at or best.get(standing.id)
        waits = None
        if standing.expires_at is not None:
            due = max(now, scheduled_at or now)
            waits = due + (standing.expires_at - max(standing.created_at, standing.scheduled_at or standing.created_at))
        changed = {
            "approved_by": actor,
            "approved_at": now,
            "approved_hash": standing.content_hash,
            "payload": payload(standing),
            "scheduled_at": scheduled_at,
            "expires_at": waits,
            "undo_until": now + undo if undo else None,
        }
        return Move("approved", "approved", changed)

    return plan


def reject(
    conn: Connection, action_id: UUID, *, actor: str, now: datetime, reason: str | None, seen: Seen = UNSEEN
) -> Action:
    """Refuse a pending action for good; nothing is proposed again for its cause."""
    return make_one(conn, action_id, seen, rejection(reason), actor=actor, now=now)


def rejection(reason: str | None) -> Plan:
    """Return what rejecting makes of an action. Raises `Invalid` for a reason that is none."""
    kept = _reason(reason)

    def plan(standing: Action) -> Move:
        must_be(standing, ("pending",), "rejected")
        return Move("rejected", "rejected", {"reason": kept}, kept)

    return plan


def cancel(
    conn: Connection, action_id: UUID, *, actor: str, now: datetime, reason: str | None = None, seen: Seen = UNSEEN
) -> Action:
    """Stop an approved action that no executor has in hand; one that was tried may have arrived: it is `unknown`."""
    return make_one(conn, action_id, seen, cancellation(reason), actor=actor, now=now)


def cancellation(reason: str | None) -> Plan:
    """Return what cancelling makes of an action. Raises `Invalid` for a reason that is none."""
    kept = _reason(reason)

    def plan(standing: Action) -> Move:
        must_be(standing, ("approved",), "cancelled")
        if standing.attempts == 0:
            return Move("cancelled", "cancelled", {"reason": kept}, kept)
        return Move("unknown", "cancelled", {"reason": kept or "cancelled_after_a_try"}, kept)

    return plan


def undo(conn: Connection, action_id: UUID, *, actor: str, now: datetime, seen: Seen = UNSEEN) -> Action:
    """Take an approval back. After the first try it is too late: the words may be on their way."""
    return make_one(conn, action_id, seen, undoing, actor=actor, now=now)


def undoing(standing: Action) -> Move:
    """Return what taking its approval back makes of an action."""
    must_be(standing, ("approved",), "taken back")
    if standing.attempts > 0:
        raise too_late(standing, "taken back: it was tried already")
    frozen = ("approved_by", "approved_at", "approved_hash", "payload", "undo_until")
    return Move("pending", "undone", dict.fromkeys(frozen))


def done_by_hand(
    conn: Connection, action_id: UUID, *, actor: str, now: datetime, note: str, seen: Seen = UNSEEN
) -> Action:
    """Record that a person did it themselves; nothing is sent. `note` says how."""
    return make_one(conn, action_id, seen, doing_by_hand(note, now), actor=actor, now=now)


def doing_by_hand(note: str, now: datetime) -> Plan:
    """Return what doing it by hand makes of an action. Raises `Invalid` for a note that is none."""
    changed = {"executed_at": now, "channel": "hand", "reason": _reason(note)}

    def plan(standing: Action) -> Move:
        must_be(standing, ("pending", "approved"), "executed")
        return Move("executed", "done_by_hand", changed, note)

    return plan


def settle(
    conn: Connection, action_id: UUID, given: Settlement, *, actor: str, now: datetime, seen: Seen = UNSEEN
) -> Action:
    """Say what became of an action nobody knows of."""
    return make_one(conn, action_id, seen, settling(given, now), actor=actor, now=now)


def settling(given: Settlement, now: datetime) -> Plan:
    """Return what settling makes of an action. Raises `Invalid` for a note that is none, or for a careless retry."""
    changed: dict[str, object] = {"reason": _reason(given.note)}
    if given.became == "executed":
        changed["executed_at"] = now
    if given.became == "approved":
        if not given.may_arrive_twice:
            raise Invalid(
                "It may have arrived already: say `mayArriveTwice` to send it again all the same.",
                field="mayArriveTwice",
                code="not_accepted",
            )
        changed |= {"next_attempt_at": None, "first_attempt_at": None, "expires_at": None}

    def plan(standing: Action) -> Move:
        must_be(standing, ("unknown",), f"settled as {given.became}")
        return Move(given.became, "settled", changed, given.note)

    return plan


def edit(
    conn: Connection,
    action_id: UUID,
    *,
    actor: str,
    now: datetime,
    words: Words,
    seen: Seen = UNSEEN,
) -> Action:
    """Change the words of a pending action; whoever looks at the old ones can no longer approve them."""

    def plan(standing: Action) -> Move:
        must_be(standing, ("pending",), "edited")
        return rewriting(standing, words)

    return make_one(conn, action_id, seen, plan, actor=actor, now=now)


def rewriting(standing: Action, words: Words, *, group_edit_id: UUID | None = None) -> Move:
    """Return what other words make of a pending action. Raises `Invalid` for what cannot be sent."""
    _check_words(standing.action_type, words)
    changed = {
        "subject": words.subject,
        "content": words.content,
        "preheader": words.preheader,
        "content_hash": content.content_hash(payload(standing, words)),
        "version": standing.version + 1,
        "group_edit_id": group_edit_id,
    }
    return Move("pending", "edited", changed)


def payload(about: Draft | Action, words: Words | None = None) -> bytes:
    """Return the bytes that are sent if the action is approved: with other words, or its own."""
    said = words or _words_of(about)
    return content.payload(
        user_id=about.user_id,
        action_type=about.action_type,
        subject=said.subject,
        content=said.content,
        preheader=said.preheader,
        locale=about.locale,
        address=about.address,
    )


def _words_of(about: Draft | Action) -> Words:
    return Words(about.content, about.subject, about.preheader)


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
    if draft.topic is not None:
        _words("topic", draft.topic, MAX_TOPIC)
    if draft.address is not None:
        if draft.action_type not in ADDRESSES:
            raise Invalid("`address` is of a post or an alert; other actions go to the user.", field="address")
        _words("address", draft.address, 200)
    _check_words(draft.action_type, _words_of(draft))


def _check_words(action_type: str, words: Words) -> None:
    _words("content", words.content, MAX_CONTENT)
    _line("subject", words.subject, MAX_SUBJECT)
    _line("preheader", words.preheader, MAX_PREHEADER)
    if action_type == "email" and words.subject is None:
        raise Invalid("`subject` is missing; an email has one.", field="subject")
    if action_type != "email" and words.preheader is not None:
        raise Invalid("`preheader` is of an email: nothing else is shown in a mailbox.", field="preheader")


def _line(name: str, value: str | None, longest: int) -> None:
    if value is not None:
        _words(name, value, longest)
        if not value.isprintable():
            raise Invalid(f"`{name}` must be one line without control characters.", field=name)


def _words(name: str, value: str, longest: int) -> None:
    if not value.strip() or len(value) > longest:
        raise Invalid(f"`{name}` must have 1 to {longest} characters.", field=name)
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Invalid(f"`{name}` holds a NUL or half a surrogate pair.", field=name, code="bad_character")


def _reason(text: str | None) -> str | None:
    if text is not None:
        _words("reason", text, MAX_REASON)
    return text
