"""A route that is taken thousands of times a second: it keeps its place in the document and skips FastAPI's machinery.

Working out a request's dependencies costs more than reading, checking and answering an event together. The endpoint is
given the request and the caller, and answers with a `Response` of its own.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from oracle_api.auth import NeedsLately


class HotRoute(APIRoute):
    """Calls `endpoint(request, caller)` once the scope that the endpoint names is given."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what serves a request. Raises ValueError for an endpoint without a scope."""
        (need,) = (one.call for one in self.dependant.dependencies if isinstance(one.call, NeedsLately))
        endpoint = self.endpoint

        async def serve(request: Request) -> Response:
            answer: Response = await endpoint(request, await need.caller(request))
            return answer

        return serve
