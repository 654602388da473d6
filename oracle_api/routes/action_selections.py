"""`/api/oracle/actions/selection`: many actions named by a filter, looked at, then answered as they were seen."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from oracle_api.auth import needs
from oracle_api.deps import Config, Conn, Now
from oracle_api.schemas.action_selections import FilterAsked, SelectionAnswerIn, SelectionAnswerOut, SelectionOut
from oracle_lib.access import Caller
from oracle_lib.errors import Invalid
from oracle_lib.execute import answers, selections
from oracle_lib.execute.answers import Answer

router = APIRouter(prefix="/api/oracle/actions", tags=["actions"])


@router.get("/selection", dependencies=[needs("actions:read")])
def look(conn: Conn, which: Annotated[FilterAsked, Query()]) -> SelectionOut:
    """Return what a filter means, and the digest of it."""
    return SelectionOut.model_validate(selections.look(conn, which.read()))


@router.post("/selection/answer")
def answer(
    conn: Conn, now: Now, settings: Config, caller: Annotated[Caller, needs("actions:approve")], body: SelectionAnswerIn
) -> SelectionAnswerOut:
    """Give all of it one answer, if it is what was seen."""
    actor = f"key:{caller.id}"
    undo = timedelta(seconds=settings.undo_seconds if body.undoable else 0)
    given = Answer(body.status, body.reason, undo)
    moved = selections.answer(
        conn,
        body.filter.read(),
        body.digest,
        lambda ids: answers.plan(conn, given, ids, actor=actor, now=now),
        actor=actor,
        now=now,
    )
    if moved != body.count:
        raise Invalid(f"`count` is {body.count}, and the digest is of {moved}.", field="count", code="contradiction")
    return SelectionAnswerOut(moved=moved)
