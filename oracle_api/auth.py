"""Who may call what. Closed by default: a route that names no scope does not start, and only `PUBLIC` needs no key.

A key comes as `Authorization: Bearer ork_...`, as `X-API-Key: ork_...`, or as the user name of Basic auth, which is how
Segment's clients send theirs; never in the URL. One with a wrong form or checksum is refused before the database is
asked. Proved by `tests/security/test_s1_every_route_needs_a_key.py`.
"""

import base64
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from oracle_api.deps import Conn, Now, edge
from oracle_lib import access, clock
from oracle_lib.access import Caller, Presented
from oracle_lib.errors import Forbidden, Permanent, Unknown

# Routes that name no scope: they show nothing about anybody. A link in a letter is its own key, a provider's webhook is
# signed, and the panel's pages ask by themselves, `panel/pages.py`.
PUBLIC = frozenset(
    {
        "/healthz",
        "/readyz",
        "/unsubscribe/{token}",
        "/t/{token}",
        "/push/{name}",
        "/api/oracle/webhooks/resend",
        "/api/oracle/webhooks/sendgrid",
        "/api/oracle/webhooks/sendgrid-inbound",
        "/admin/oracle",
        "/admin/oracle/ceo-report",
        "/admin/oracle/static/{name}",
    }
)


async def presented(request: Request) -> Presented:
    """Return the key that came with the request, its form checked. Raises `Unknown`."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            key = given.strip()
        case "basic":
            key = _user_name(given)
        case _:
            key = request.headers.get("x-api-key", "").strip()
    if not key:
        raise Unknown("An API key is needed: send `Authorization: Bearer ork_...`.")
    return access.parse(key)


def _user_name(credentials: str) -> str:
    """Return the user name of Basic credentials; the password says nothing."""
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode("ascii").partition(":")[0]
    except ValueError:
        return ""


class Needs:
    """The dependency by which a route says which scope it takes; gives the handler the `Caller`."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    def __call__(self, key: Annotated[Presented, Depends(presented)], conn: Conn, now: Now) -> Caller:
        """Return who calls. Raises `Unknown` or `Forbidden`."""
        return _permitted(access.verify(conn, key, now), self.scope)


class NeedsLately(Needs):
    """As `Needs`, for a `HotRoute`: no database connection for a key that was verified a moment ago."""

    async def caller(self, request: Request) -> Caller:
        """Return who calls. Raises `Unknown` or `Forbidden`."""
        key = await presented(request)
        return _permitted(await edge(request).callers.get(key, clock.now()), self.scope)


def needs(scope: str, kind: type[Needs] = Needs) -> Any:
    """Return the dependency on a scope. Raises ValueError for a word that is none."""
    if scope not in access.SCOPES:
        raise ValueError(f"there is no scope {scope}")
    return Depends(kind(scope))


def _permitted(caller: Caller, scope: str) -> Caller:
    if not caller.may(scope):
        raise Forbidden(f"This key lacks the scope {scope}.")
    return caller


def routes(app: FastAPI) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield method, path and needed scopes of every route of `app`."""
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        scopes = frozenset(_scopes(dependant)) if dependant is not None else frozenset()
        for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
            yield method, route.path or "", scopes


def check_closed(app: FastAPI) -> None:
    """Refuse to start with a route that is not public and names no scope."""
    for method, path, scopes in routes(app):
        if not scopes and path not in PUBLIC:
            raise Permanent(f"{method} {path} names no scope; say `needs(...)` or add it to PUBLIC.")


def _scopes(dependant: Dependant) -> Iterator[str]:
    for one in dependant.dependencies:
        if isinstance(one.call, Needs):
            yield one.call.scope
        yield from _scopes(one)
