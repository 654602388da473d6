"""What a handler is given: one transaction a request, the time, and the settings.

The transaction commits after the handler has returned and before its answer is sent, so a 2xx is true when it is read;
any exception rolls it back. At most as many requests as the pool has connections are inside a transaction at once: the
rest wait here, without a thread, and are answered 503 if their turn does not come.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, get_origin

import anyio
from fastapi import Depends, Request
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from sqlalchemy import Connection
from sqlalchemy.pool import QueuePool

from oracle_api.doors import Doors
from oracle_api.group_commit import GroupCommit
from oracle_api.rates import Rates
from oracle_api.remembered import Remembered
from oracle_api.tracked_letters import TrackedLetters
from oracle_lib import access, clock
from oracle_lib.access import Caller, Presented
from oracle_lib.errors import Invalid, Transient
from oracle_lib.observe import tail, tracking_plan
from oracle_lib.observe.tail import Tail
from oracle_lib.observe.tracking_plan import Plan
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store

_TURN_SECONDS = 10.0


@dataclass(frozen=True)
class Edge:
    """What the application was made with; one a process."""

    store: Store
    settings: Settings
    turns: anyio.Semaphore
    group: GroupCommit
    rates: Rates
    callers: Remembered[Presented, Caller]
    tails: Remembered[None, tuple[Tail, ...]]
    plan: Remembered[None, Plan]
    letters: TrackedLetters

    @classmethod
    def of(cls, store: Store, settings: Settings) -> "Edge":
        """Return the edge with as many turns as the store keeps connections."""
        pool = store.engine.pool
        turns = anyio.Semaphore(pool.size() if isinstance(pool, QueuePool) else 1)
        return cls(
            store,
            settings,
            turns,
            GroupCommit(store),
            Rates(settings.events_per_second),
            callers=Remembered(store, access.verify),
            tails=Remembered(store, lambda conn, _, now: tail.live(conn, now)),
            plan=Remembered(store, lambda conn, _, now: tracking_plan.load(conn)),
            letters=TrackedLetters(store, settings),
        )

    async def doors(self) -> Doors:
        """Return what holds for every door by which events come in, as of a moment ago."""
        moment = clock.now()
        plan = await self.plan.get(None, moment)
        return Doors(self.settings.currency, plan, await self.tails.get(None, moment))


def edge(request: Request) -> Edge:
    """Return what the application was made with."""
    found: Edge = request.app.state.edge
    return found


async def connection(request: Request) -> AsyncIterator[Connection]:
    """Open the request's transaction; commit it when the handler is done, before the answer leaves."""
    here = edge(request)
    try:
        with anyio.fail_after(_TURN_SECONDS):
            await here.turns.acquire()
    except TimeoutError as error:
        raise Transient("Too many requests at once. Nothing was stored; send it again.", retry_after=2) from error
    try:
        async with contextmanager_in_threadpool(here.store.transaction()) as conn:
            yield conn
    finally:
        here.turns.release()


async def asked_once(request: Request) -> None:
    """Refuse a query parameter that is given twice, but one that a route takes a list of.

    Which of the two is meant is anybody's guess.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    for name in request.query_params:
        if given.count(name) > 1 and name not in _lists(request.scope["route"]):
            raise Invalid(
                f"`{name[:60]}` is given {given.count(name)} times; give it once.", field=name[:60], code="repeated"
            )


def _lists(route: APIRoute) -> frozenset[str]:
    """Return the names of the query parameters of which a route takes several values."""
    lists = (one.alias for one in get_flat_params(route.dependant) if get_origin(one.field_info.annotation) is list)
    return frozenset(lists)


async def now() -> datetime:
    """Return the moment at which the request is answered: the one reading of the clock in the API."""
    return clock.now()


async def settings(request: Request) -> Settings:
    """Return the installation's settings."""
    return edge(request).settings


async def store(request: Request) -> Store:
    """Return the store, for the one thing that needs several transactions: sending."""
    return edge(request).store


async def rates(request: Request) -> Rates:
    """Return the counters of events by key."""
    return edge(request).rates


async def doors(request: Request) -> Doors:
    """Return what holds for every door by which events come in."""
    return await edge(request).doors()


async def body(request: Request) -> bytes:
    """Return the raw body."""
    return await request.body()


Conn = Annotated[Connection, Depends(connection, scope="function")]
Now = Annotated[datetime, Depends(now)]
Config = Annotated[Settings, Depends(settings)]
Sender = Annotated[Store, Depends(store)]
Body = Annotated[bytes, Depends(body)]
EveryDoor = Annotated[Doors, Depends(doors)]
Counters = Annotated[Rates, Depends(rates)]
