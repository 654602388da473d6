"""An HTTP server on this machine that takes a provider's part, keeps what it was sent and does to requests as told."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias, TypeVar


@dataclass(frozen=True)
class Request:
    """What came in. Names of headers are in lower case; `connection` is the same for requests that share one."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Says:
    """The request is answered so, and nothing comes of it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lost:
    """The request is done, and the connection breaks before the answer."""


@dataclass(frozen=True)
class Stalls:
    """The request is done, and the answer comes only after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Drips:
    """The request is done, and the answer comes a byte at a time, this far apart."""

    seconds: float


Mishap: TypeAlias = Says | Lost | Stalls | Drips


class Provider:
    """A provider that takes everything; those with rules of their own override `take`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.mishaps: list[Mishap] = []
        self.over = threading.Event()
        self.url = ""

    def take(self, request: Request) -> Says:
        return Says(200)

    def mishap(self) -> Mishap | None:
        """What happens to the next request."""
        return self.mishaps.pop(0) if self.mishaps else None


Kind = TypeVar("Kind", bound=Provider)


@contextmanager
def serving(provider: Kind, tls: ssl.SSLContext | None = None) -> Iterator[Kind]:
    """Serve on a free port of this machine until the end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, self.rfile.read(length), self.client_address[1])
            provider.requests.append(request)
            mishap = provider.mishap()
            if isinstance(mishap, Says):
                self._say(mishap)
                return
            answer = provider.take(request)
            match mishap:
                case Lost():
                    self._reset()
                case Stalls(seconds):
                    provider.over.wait(seconds)
                    self.close_connection = True
                case Drips(seconds):
                    self._drip(seconds)
                case None:
                    self._say(answer)

        do_GET = do_POST  # noqa: N815  the name is the standard library's

        def _say(self, answer: Says) -> None:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def _drip(self, seconds: float) -> None:
            self.close_connection = True
            try:
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
                    self.wfile.write(bytes([byte]))
                    if provider.over.wait(seconds):
                        return
            except OSError:
                return

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                return

        def log_message(self, *args: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # Senders connect all at once; those beyond the usual five would be reset.
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is no error of the server's."""

        def shutdown_request(self, request: object) -> None:
            try:
                super().shutdown_request(request)  # type: ignore[arg-type]
            except OSError:
                return

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        provider.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield provider
        finally:
            provider.over.set()
            server.shutdown()
            thread.join()
