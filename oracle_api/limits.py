"""Takes a request's body in before anything else happens: counted while it streams, inflated, at most 1 MB.

Of a letter that a provider posts, the first MB is kept and the rest, up to 32 MB, read and dropped: what is asked of it
stands at its beginning, and whoever attached a picture answered too.

No handler and no database connection waits for a slow or endless sender, and a small compressed body cannot unfold
into a large one. What is refused here is answered here and not stored.
"""

import asyncio
import zlib

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oracle_api.errors import problem

MAX_BODY = 1_048_576
BODY_SECONDS = 20.0
_MOST_OF_A_LETTER = 32 * MAX_BODY
_LETTERS = frozenset({"/api/oracle/webhooks/sendgrid-inbound"})
# One gzip or zlib stream, told apart by its header.
_ANY_WRAPPER = zlib.MAX_WBITS | 32


class Refused(Exception):
    """The body cannot be taken; the text and the status say why."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BodyLimit:
    """ASGI middleware: hands on a request with its whole body, or answers 400, 408, 413 or 415 itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _whole(scope, receive)
        except TimeoutError:
            await _refuse(Refused(408, "slow_body", f"The body did not arrive within {BODY_SECONDS:.0f} s."))(
                scope, receive, send
            )
        except Refused as refused:
            await _refuse(refused)(scope, receive, send)
        else:
            await self._app(_inflated(scope), _replay(body, receive), send)


def _refuse(refused: Refused) -> Response:
    # The rest of the body is not read: the connection cannot be used again.
    return problem(refused.status, refused.code, str(refused), headers={"Connection": "close"})


async def _whole(scope: Scope, receive: Receive) -> bytes:
    headers = dict(scope["headers"])
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding not in ("identity", "gzip", "deflate"):
        raise Refused(415, "unknown_encoding", f"`Content-Encoding` {encoding[:20]!r}: send gzip, deflate or none.")
    inflate = None if encoding == "identity" else zlib.decompressobj(_ANY_WRAPPER)
    most = _MOST_OF_A_LETTER if scope["path"] in _LETTERS else MAX_BODY
    body = bytearray()
    came = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "incomplete_body", "The connection closed before the body was complete.")
        chunk = message.get("body", b"")
        came += len(chunk)
        body += _inflate(inflate, chunk, MAX_BODY + 1 - len(body)) if inflate else chunk
        if most > MAX_BODY:
            # The rest of a letter is only counted.
            del body[MAX_BODY:]
        if came > most or len(body) > MAX_BODY:
            raise Refused(413, "too_large", f"The body may have {most} bytes, inflated; send it in parts.")
        more = message.get("more_body", False)
    if inflate is not None and came and not inflate.eof:
        raise Refused(400, "bad_encoding", "The compressed body ends early.")
    return bytes(body)


def _inflate(inflate: "zlib._Decompress", chunk: bytes, room: int) -> bytes:
    try:
        return inflate.decompress(chunk, room)
    except zlib.error as error:
        raise Refused(400, "bad_encoding", "The body is not what `Content-Encoding` says.") from error


def _inflated(scope: Scope) -> Scope:
    plain = [pair for pair in scope["headers"] if pair[0] not in (b"content-encoding", b"content-length")]
    return {**scope, "headers": plain}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once and then waits for the client to leave."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
