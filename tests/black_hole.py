"""A TCP way to a PostgreSQL server that swallows everything while it is dark, as a network does that drops packets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa


class BlackHole:
    """Carries bytes both ways between clients on `port` and a server's socket; `dark` holds them back, whole."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._light = threading.Event()
        self._light.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def darken(self) -> None:
        """Carry nothing from now on."""
        self._light.clear()

    def lighten(self) -> None:
        """Carry again, first what was held back."""
        self._light.set()

    def close(self) -> None:
        """Break every connection and take no more."""
        for one in (self._listening, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._light.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server))
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._light.wait()
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def black_hole(database_url: str) -> Iterator[tuple[BlackHole, str]]:
    """Put one before the database of a URL that names a socket's folder; give it and the URL that leads through it."""
    url = sa.make_url(database_url)
    folder = url.query["host"]
    made = BlackHole(Path(str(folder)) / ".s.PGSQL.5432")
    try:
        through = url.set(host="127.0.0.1", port=made.port, query={})
        yield made, through.render_as_string(hide_password=False)
    finally:
        made.close()
