"""`/api/oracle/predictions/{userId}`: what the models say of one user, and why."""

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Conn
from oracle_api.schemas.models import PredictionOut, PredictionsOut
from oracle_api.schemas.words import Id

router = APIRouter(prefix="/api/oracle/predictions", tags=["models"])


@router.get("/{user_id:path}", dependencies=[needs("users:read")])
def get(conn: Conn, user_id: Id) -> PredictionsOut:
    """Return what each promoted model predicts of a user, with the factors that weigh most."""
    # Not at import: a server that only takes events does without the library that composes features.
    from oracle_lib.analyze import explanations

    found = explanations.explain(conn, user_id)
    return PredictionsOut(user_id=user_id, predictions=[PredictionOut.model_validate(one) for one in found])
