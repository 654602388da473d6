"""`/api/oracle/actions`: what is proposed, and the answers people give.

An answer may name what was seen (`version`, `contentHash`); it is then given to exactly that. With `status` alone it
is given to the version current at that moment, and the history says that none was shown.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, status
from sqlalchemy import Connection

from oracle_api.auth import needs
from oracle_api.deps import Config, Conn, Now
from oracle_api.schemas.actions import (
    ActionIn,
    ActionOut,
    ActionsOut,
    AnsweredIn,
    AnsweredOut,
    AnswerIn,
    AnswersIn,
    AnswersOut,
    LineageOut,
    MoveIn,
    PreviewOut,
    SeenIn,
    SettledIn,
    SettlementIn,
    SettlementsIn,
    VersionsOut,
    WordsIn,
)
from oracle_api.schemas.words import EngagementLevel, Id, Limit
from oracle_lib.access import Caller
from oracle_lib.decide.definition import Words
from oracle_lib.errors import Conflict, Invalid, OracleError
from oracle_lib.execute import answers, approvals, messages, moves, records, versions
from oracle_lib.execute.answers import Answer
from oracle_lib.execute.approvals import Draft, Settlement
from oracle_lib.execute.moves import Plan, Seen
from oracle_lib.execute.records import Action, Filter
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import ACTION_STATUSES, ACTION_TYPES
from oracle_lib.tell import lineage

router = APIRouter(prefix="/api/oracle/actions", tags=["actions"])


@router.get("", dependencies=[needs("actions:read")])
def page(
    *,
    conn: Conn,
    status: Annotated[Literal[ACTION_STATUSES] | None, Query()] = None,  # type: ignore[valid-type]
    user_id: Annotated[Id | None, Query(alias="userId")] = None,
    action_type: Annotated[Literal[ACTION_TYPES] | None, Query(alias="actionType")] = None,  # type: ignore[valid-type]
    rule_id: Annotated[UUID | None, Query(alias="ruleId")] = None,
    message_class: Annotated[Literal["marketing", "transactional"] | None, Query(alias="messageClass")] = None,
    engagement_level: Annotated[EngagementLevel | None, Query(alias="engagementLevel")] = None,
    limit: Annotated[Limit, Query()] = 50,
    cursor: Annotated[Id | None, Query()] = None,
) -> ActionsOut:
    """Return a page of actions, newest first."""
    which = Filter(status, user_id, action_type, rule_id, message_class, engagement_level)
    found = records.listing(conn, which, limit=limit, cursor=cursor)
    return ActionsOut.model_validate(found)


@router.post("", status_code=status.HTTP_201_CREATED)
def propose(
    conn: Conn, now: Now, settings: Config, caller: Annotated[Caller, needs("actions:write")], body: ActionIn
) -> ActionOut:
    """Propose an action; it is pending until somebody approves it."""
    draft = Draft(**{name: getattr(body, name) for name in ActionIn.model_fields})
    expiry = timedelta(hours=settings.action_expiry_hours)
    return ActionOut.model_validate(approvals.create(conn, draft, actor=_actor(caller), now=now, expiry=expiry))


@router.get("/{action_id}", dependencies=[needs("actions:read")])
def get(conn: Conn, action_id: UUID) -> ActionOut:
    """Return one action."""
    return ActionOut.model_validate(records.get(conn, action_id))


@router.get("/{action_id}/lineage", dependencies=[needs("actions:read")])
def why(conn: Conn, action_id: UUID) -> LineageOut:
    """Return what led to an action and what came of it, step by step."""
    return LineageOut.model_validate(lineage.trace(conn, action_id))


@router.get("/{action_id}/versions", dependencies=[needs("actions:read")])
def words_of(conn: Conn, action_id: UUID) -> VersionsOut:
    """Return every version of an action's words."""
    return VersionsOut.model_validate({"versions": versions.of(conn, action_id)})


@router.get("/{action_id}/preview", dependencies=[needs("actions:read")])
def preview(conn: Conn, settings: Config, action_id: UUID) -> PreviewOut:
    """Return an action as its recipient would get it."""
    return PreviewOut.model_validate(messages.preview(conn, action_id, settings))


@router.put("/{action_id}/words")
def edit(
    conn: Conn, now: Now, caller: Annotated[Caller, needs("actions:approve")], action_id: UUID, words: WordsIn
) -> ActionOut:
    """Change the words of a pending action; it is another version from then on."""
    edited = approvals.edit(
        conn,
        action_id,
        actor=_actor(caller),
        now=now,
        words=Words(words.content, words.subject, words.preheader),
        seen=_seen(words),
    )
    return ActionOut.model_validate(edited)


@router.patch("/{action_id}")
def move(
    *,
    conn: Conn,
    now: Now,
    settings: Config,
    caller: Annotated[Caller, needs("actions:approve")],
    action_id: UUID,
    answer: MoveIn,
) -> ActionOut:
    """Approve or reject an action, take an approval back, cancel it, or say that it was done by hand."""
    plan = answers.plan(conn, _answer(answer, settings), [action_id], actor=_actor(caller), now=now)
    moved = moves.make_one(conn, action_id, _seen(answer), plan, actor=_actor(caller), now=now)
    return ActionOut.model_validate(moved)


@router.post("/answers")
def move_many(
    conn: Conn,
    now: Now,
    settings: Config,
    caller: Annotated[Caller, needs("actions:approve")],
    answer: AnswersIn,
) -> AnswersOut:
    """Give many actions one answer: each that may moves, whatever becomes of the others."""
    ids = [item.id for item in answer.items]
    plan = answers.plan(conn, _answer(answer, settings), ids, actor=_actor(caller), now=now)
    return _moved(conn, now, caller, answer.items, plan)


@router.post("/{action_id}/settlement")
def settle(
    conn: Conn, now: Now, caller: Annotated[Caller, needs("actions:approve")], action_id: UUID, found: SettledIn
) -> ActionOut:
    """Say what became of an action nobody knows of, or have it tried again."""
    given = _settlement(found)
    settled = approvals.settle(conn, action_id, given, actor=_actor(caller), now=now, seen=_seen(found))
    return ActionOut.model_validate(settled)


@router.post("/settlements")
def settle_many(
    conn: Conn, now: Now, caller: Annotated[Caller, needs("actions:approve")], found: SettlementsIn
) -> AnswersOut:
    """Say the same of many actions: each that nobody knows of is settled, whatever becomes of the others."""
    return _moved(conn, now, caller, found.items, approvals.settling(_settlement(found), now))


def _moved(conn: Connection, now: datetime, caller: Caller, items: Sequence[AnsweredIn], plan: Plan) -> AnswersOut:
    asked = {item.id: _seen(item) for item in items}
    if len(asked) < len(items):
        raise Invalid("`items` names an action twice; name each once.", field="items", code="repeated")
    made = moves.make(conn, asked, plan, actor=_actor(caller), now=now)
    results = [_result(action_id, became) for action_id, became in made.items()]
    return AnswersOut(moved=sum(one.result == "moved" for one in results), results=results)


def _settlement(found: SettlementIn) -> Settlement:
    return Settlement(found.became, found.note, found.may_arrive_twice)


def _answer(given: AnswerIn, settings: Settings) -> Answer:
    undo = timedelta(seconds=settings.undo_seconds if given.undoable else 0)
    return Answer(given.status, given.reason, undo)


def _seen(given: SeenIn) -> Seen:
    return Seen(given.version, given.content_hash)


def _result(action_id: UUID, became: Action | OracleError) -> AnsweredOut:
    match became:
        case Action():
            return AnsweredOut(id=action_id, result="moved", message=None, current=records.wire_state(became))
        case Conflict(current=current):
            return AnsweredOut(id=action_id, result="conflict", message=str(became), current=current)
        case _:
            return AnsweredOut(id=action_id, result="not_found", message=str(became), current=None)


def _actor(caller: Caller) -> str:
    return f"key:{caller.id}"
