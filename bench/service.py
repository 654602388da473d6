"""The API in a process of its own, and a client lean enough not to be what is measured."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from bench.result import percentile
from oracle_lib import access
from oracle_lib.storage.engine import Store

_START_SECONDS = 60


@dataclass(frozen=True)
class Service:
    """A running API: its port and a key that may do everything."""

    port: int
    key: str

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the bytes of a request."""
        return (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


@dataclass(frozen=True)
class Load:
    """What a load came to: wall seconds, and the seconds each request took."""

    seconds: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def at(self, percent: float) -> float:
        """Return a percentile of the latencies in milliseconds."""
        return 1000 * percentile(self.latencies, percent)


@contextmanager
def api(store: Store, now: datetime, *, factory: str = "oracle_api.app:from_environment") -> Iterator[Service]:
    """Run the API over a database until the block ends."""
    with store.transaction() as conn:
        key = access.create(conn, "bench", list(access.SCOPES), now).key
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", factory, "--factory", "--port", str(port), "--no-access-log"]
    # What is measured is how fast it is, not how fast one key may be.
    environment = {**os.environ, "ORACLE_DATABASE_URL": store.url, "ORACLE_EVENTS_PER_SECOND": "1000000"}
    process = subprocess.Popen([*command, "--log-level", "warning"], env=environment)
    try:
        await_port(process, port)
        yield Service(port, key)
    finally:
        process.terminate()
        process.wait(30)


def send(service: Service, requests: Sequence[bytes], *, clients: int, rate: float | None = None) -> Load:
    """Send every request once, from so many connections, at most `rate` a second. Raises on an answer of 4xx or 5xx."""
    return asyncio.run(_send(service, requests, clients, rate))


async def _send(service: Service, requests: Sequence[bytes], clients: int, rate: float | None) -> Load:
    waiting = iter(enumerate(requests))
    latencies: list[float] = []
    streams = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(clients)]
    started = time.perf_counter()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, request in waiting:
            due = time.perf_counter() if rate is None else started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(request)
            await _answer(reader)
            latencies.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(client(reader, writer) for reader, writer in streams))
    return Load(time.perf_counter() - started, latencies)


async def _answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(length)
    if status >= 400:
        raise RuntimeError(f"The API answered {status}: {body[:300]!r}")


def free_port() -> int:
    """Return a port of this machine on which nobody listens now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def await_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a process listens; raises `RuntimeError` when it does not within a minute."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("The server did not start.")
