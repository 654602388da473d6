"""The OpenAPI document: what FastAPI works out of the routes, and what it cannot see.

That is how a key is sent, the one form of errors, and the bodies that are read as bytes because a refused one is kept
as it came.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from oracle_api.schemas.words import ErrorOut

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorOut, "description": "Refused: `code`, `field` and `message` say why."},
    "5XX": {"model": ErrorOut, "description": "Nothing was stored; after 503 send it again."},
}
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key as user name, as Segment's clients send it."},
}


def reads(body: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    """Return what a route that reads its body as bytes adds to its place in the document."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": body}}}}


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model that names no other one."""
    return model.model_json_schema(by_alias=True)


def of(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application. Every route needs a key but those that answer without one."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        made["components"]["securitySchemes"] = _KEYS
        made["security"] = [{name: []} for name in _KEYS]
        app.openapi_schema = made
    return app.openapi_schema
