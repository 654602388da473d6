"""`/api/oracle/users/{userId}/next-best-action`: what would be best to say to a user now, and why."""

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Config, Conn, Now
from oracle_api.schemas.words import Id
from oracle_api.schemas.work import BestActionOut, ChoiceOut, NextBestOut
from oracle_lib.decide.guardrails import Limits

router = APIRouter(prefix="/api/oracle/users", tags=["rules"])


@router.get("/{user_id:path}/next-best-action", dependencies=[needs("users:read")])
def get(conn: Conn, now: Now, settings: Config, user_id: Id) -> NextBestOut:
    """Choose among the messages whose conditions hold for the user; nothing is proposed."""
    # Not at import: a server that only takes events does without the library that composes expressions.
    from oracle_lib.decide import next_best

    found = next_best.for_user(conn, user_id, as_of=now.date(), now=now, limits=Limits.of(settings))
    if found is None:
        return NextBestOut(user_id=user_id, next_best_action=None, choices=[])
    return NextBestOut(
        user_id=user_id,
        next_best_action=BestActionOut.model_validate({**vars(found), "type": found.action_type}),
        choices=[ChoiceOut.model_validate(one) for one in found.choices],
    )
