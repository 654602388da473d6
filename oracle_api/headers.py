"""What every answer carries: headers that keep a browser from doing more with it than show it.

The policy of the panel allows its own style sheet, script and pictures, that of the page to unsubscribe the style sheet
and its form; that of everything else allows nothing.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PANEL = "/admin/oracle"
PANEL_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
UNSUBSCRIBE = "/unsubscribe/"
UNSUBSCRIBE_POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
ALWAYS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def _raw(policy: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers as they travel: they are worked out once, not for each answer."""
    headers = {**ALWAYS, "Content-Security-Policy": policy}
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())


_OF_PANEL, _OF_UNSUBSCRIBE, _OF_API = _raw(PANEL_POLICY), _raw(UNSUBSCRIBE_POLICY), _raw(API_POLICY)
_NO_STORE = (b"cache-control", b"no-store")


def _policy(path: str) -> tuple[tuple[bytes, bytes], ...]:
    if f"{path}/".startswith(f"{PANEL}/"):
        return _OF_PANEL
    return _OF_UNSUBSCRIBE if path.startswith(UNSUBSCRIBE) else _OF_API


class SecurityHeaders:
    """ASGI middleware: adds the headers to every answer, errors too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        always = _policy(scope["path"])

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                cached = any(name.lower() == b"cache-control" for name, _ in given)
                message["headers"] = [*given, *always, *(() if cached else (_NO_STORE,))]
            await send(message)

        await self._app(scope, receive, adding)
