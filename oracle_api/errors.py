"""Every error as an answer: `{"error": {"code", "field", "message", ...}}`, from one table.

    Invalid 422 · Unknown 401 · Forbidden 403 · NotFound 404 · Conflict 409 with `current` · Limited 429 and Transient
    503 with Retry-After · Permanent and anything unforeseen 500 with a `reference` that stands in the log · database
    gone 503

A 5xx says that nothing was stored: the transaction was rolled back. Texts of the database never reach the caller.
"""

import math
import uuid
from collections.abc import Mapping

import psycopg
import sqlalchemy as sa
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oracle_lib.errors import (
    Conflict,
    Forbidden,
    Invalid,
    Limited,
    NotFound,
    OracleError,
    Permanent,
    Transient,
    Unknown,
)

_STATUS: dict[type[OracleError], tuple[int, str]] = {
    Invalid: (422, "invalid"),
    Unknown: (401, "unauthorized"),
    Forbidden: (403, "forbidden"),
    NotFound: (404, "not_found"),
    Conflict: (409, "conflict"),
    Limited: (429, "rate_limited"),
    Transient: (503, "try_again"),
    Permanent: (500, "permanent"),
}
_RETRY_SECONDS = 5
_log = structlog.get_logger("oracle_api")


def problem(
    status: int,
    code: str,
    message: str,
    *,
    field: str | None = None,
    more: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the one form in which errors are answered."""
    error = {"code": code, "field": field, "message": message, **(more or {})}
    return JSONResponse({"error": error}, status_code=status, headers=dict(headers or {}))


def install(app: FastAPI) -> None:
    """Answer every error of `app` in that form."""
    app.add_exception_handler(OracleError, _known)
    app.add_exception_handler(RequestValidationError, _wrong_input)
    app.add_exception_handler(HTTPException, _plain)
    for gone in (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, psycopg.OperationalError):
        app.add_exception_handler(gone, _database_gone)
    app.add_exception_handler(sa.exc.DBAPIError, _database_error)


def _known(_: Request, error: OracleError) -> JSONResponse:
    match error:
        case Invalid():
            return problem(422, error.code, str(error), field=error.field)
        case Conflict():
            return problem(409, "conflict", str(error), more={"current": error.current})
        case Limited():
            return problem(429, "rate_limited", str(error), headers=_retry(error.retry_after))
        case Transient():
            return problem(503, "try_again", str(error), headers=_retry(error.retry_after))
        case Unknown():
            return problem(401, "unauthorized", str(error), headers={"WWW-Authenticate": "Bearer"})
    status, code = next((found for kind, found in _STATUS.items() if isinstance(error, kind)), (500, "permanent"))
    return problem(status, code, str(error))


def _wrong_input(_: Request, error: RequestValidationError) -> JSONResponse:
    """Name the first thing that is wrong with parameters or body, in the wire's own words."""
    first = error.errors()[0]
    kind = str(first.get("type", "invalid"))
    if kind == "json_invalid":
        return problem(422, "malformed_json", "The body is not valid JSON.", field="body")
    place = [str(part) for part in first.get("loc", ())[1:]]
    field = ".".join(place) or "body"
    return problem(422, kind, f"`{field}`: {first.get('msg', 'is not valid')}.", field=field)


def _plain(request: Request, error: HTTPException) -> JSONResponse:
    codes = {400: "malformed_json", 404: "not_found", 405: "method_not_allowed"}
    code = codes.get(error.status_code, "refused")
    headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
    return problem(error.status_code, code, f"{error.detail}.", headers=headers)


def _methods(request: Request) -> list[str]:
    """Return the methods of every route of the path: the framework names those of the first one it meets."""
    here = (route for route in iter_route_contexts(request.app.routes) if route.matches(request.scope)[0] != Match.NONE)
    return sorted({method for route in here for method in route.methods or ()})


def _database_gone(_: Request, error: Exception) -> JSONResponse:
    _log.warning("database unavailable", error=type(error).__name__)
    message = "The database does not answer. Send it again later; what has a `messageId` is stored once."
    return problem(503, "database_unavailable", message, headers=_retry(_RETRY_SECONDS))


def _database_error(request: Request, error: sa.exc.DBAPIError) -> JSONResponse:
    """Tell a connection that broke in the middle from a statement of ours that is wrong."""
    if error.connection_invalidated:
        return _database_gone(request, error)
    return unforeseen(request.url.path, error)


def unforeseen(path: str, error: Exception) -> JSONResponse:
    """Log what nobody thought of, and answer with nothing but the reference of that log line."""
    reference = uuid.uuid4().hex[:12]
    _log.error("unforeseen error", reference=reference, path=path, exc_info=error)
    message = "Something went wrong on our side. Nothing was stored. Name the reference when you report it."
    return problem(500, "internal", message, more={"reference": reference})


def _retry(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


class LastResort:
    """ASGI middleware: whatever no handler knows becomes a 500 with a reference, and is logged once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await unforeseen(scope["path"], error)(scope, receive, send)
