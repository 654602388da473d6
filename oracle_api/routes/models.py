"""`/api/oracle/models`: which models there are, how good they were on weeks they had not seen, and their cards."""

from uuid import UUID

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Conn
from oracle_api.schemas.models import ModelCardOut, ModelOut, ModelsOut
from oracle_lib.analyze import model_cards

router = APIRouter(prefix="/api/oracle/models", tags=["models"])


@router.get("", dependencies=[needs("report:read")])
def listing(conn: Conn) -> ModelsOut:
    """Return every version of every target, the newest first."""
    return ModelsOut(models=[ModelOut.model_validate(one) for one in model_cards.listing(conn)])


@router.get("/{model_id}", dependencies=[needs("report:read")])
def get(conn: Conn, model_id: UUID) -> ModelCardOut:
    """Return one version with its card."""
    return ModelCardOut.model_validate(model_cards.get(conn, model_id))
