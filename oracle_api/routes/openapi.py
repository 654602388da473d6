"""`/api/oracle/openapi.json`: what every route takes and answers, for tools that read it."""

from typing import Any

from fastapi import APIRouter, Request

from oracle_api import document
from oracle_api.auth import needs

router = APIRouter(prefix="/api/oracle", tags=["document"])


@router.get("/openapi.json", dependencies=[needs("admin")])
def read(request: Request) -> dict[str, Any]:
    """Return the OpenAPI document."""
    return document.of(request.app)
