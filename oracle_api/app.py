"""The application: routes, what wraps them, and how a server starts it.

    uvicorn oracle_api.app:from_environment --factory

Read it as a request travels: security headers, the last resort for errors, the host's name, the body's size, then a
route that needs a key.
"""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from oracle_api import auth, document, errors
from oracle_api.deps import Edge, asked_once
from oracle_api.errors import LastResort
from oracle_api.headers import SecurityHeaders
from oracle_api.limits import BodyLimit
from oracle_api.panel import pages
from oracle_api.routes import (
    action_groups,
    action_selections,
    actions,
    ceo_report,
    channels,
    courses,
    dry_runs,
    event_tail,
    events,
    execute,
    experiments,
    health,
    inbox,
    models,
    next_best,
    openapi,
    predictions,
    preferences,
    push,
    rejected_events,
    rule_drafts,
    rule_life,
    rule_versions,
    rules,
    run_requests,
    segment_http,
    segments,
    sending_stops,
    tracked_letters,
    tracking_plan,
    unsubscribe,
    users,
    webhooks,
    why_not,
)
from oracle_lib import settings as environment
from oracle_lib.errors import Permanent
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store

_KEYED: tuple[APIRouter, ...] = (
    events.router,
    event_tail.router,
    rejected_events.router,
    tracking_plan.router,
    segment_http.router,
    why_not.router,
    next_best.router,
    push.router,
    inbox.router,
    preferences.router,
    users.router,
    courses.router,
    segments.router,
    models.router,
    action_groups.router,
    action_selections.router,
    actions.router,
    execute.router,
    channels.router,
    sending_stops.router,
    rules.router,
    rule_drafts.router,
    rule_versions.router,
    rule_life.router,
    experiments.router,
    dry_runs.router,
    ceo_report.router,
    run_requests.router,
    openapi.router,
    predictions.router,
)
_OPEN: tuple[APIRouter, ...] = (
    health.router,
    pages.router,
    unsubscribe.router,
    tracked_letters.router,
    push.scripts,
    webhooks.router,
)
_POOL = 10
# Nobody waits for an answer that long, and a page that is asked for again and again must not pile up.
_STATEMENT_SECONDS = 30


def create_app(store: Store, settings: Settings) -> FastAPI:
    """Return the application over a store. It connects with the first request; the caller closes the store.

    Raises `Permanent` for a route that is neither public nor names the scope it takes.
    """
    app = FastAPI(title="ORACLE", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.edge = Edge.of(store, settings)
    for router in _KEYED:
        app.include_router(
            router, dependencies=[Depends(auth.presented), Depends(asked_once)], responses=document.ERRORS
        )
    for router in _OPEN:
        app.include_router(router)
    errors.install(app)
    # The last one added is the first a request meets.
    app.add_middleware(BodyLimit)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.host_names, www_redirect=False)
    app.add_middleware(LastResort)
    app.add_middleware(SecurityHeaders)
    auth.check_closed(app)
    return app


def from_environment() -> FastAPI:
    """Return the application as the environment describes it: what a server is given as its factory."""
    settings = environment.get()
    if settings.database_url is None:
        raise Permanent("ORACLE_DATABASE_URL is not set. `oracle up` sets it for the server it starts.")
    store = Store(settings.database_url, pool_size=_POOL, statement_seconds=_STATEMENT_SECONDS)
    app = create_app(store, settings)
    app.router.lifespan_context = _closing(store)
    return app


def _closing(store: Store) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # What was made to start stays: looking through it for garbage held every request up for 0.15 s at a time.
        gc.collect()
        gc.freeze()
        yield
        store.close()

    return lifespan
