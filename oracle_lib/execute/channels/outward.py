"""The one way out over HTTP: channels post through it and are told what became of the request.

No redirects and no proxies; connections are kept and go where `line.py` lets them. A request ends within 20 s, however
slowly the other side drips, and an answer is read up to 1 MB.

It stands on httpcore, the transport below httpx: there a connection can be pinned without touching private parts. The
providers' own libraries keep no connections (one of them has no time-out either) and would go around that.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore
import httpx

from oracle_lib.execute.channels import rate_limits
from oracle_lib.execute.channels.letter import one_line
from oracle_lib.execute.channels.line import Line, NotPublic, check_url
from oracle_lib.execute.channels.protocol import Ambiguous, Answer, Broken, Delivered, Limited, Refused

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 20.0
KEEP_ALIVE_SECONDS = 5.0
MAX_ANSWER = 1 << 20


@dataclass(frozen=True)
class Reply:
    """What the other side said. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Outward:
    """Keeps the connections of one channel to one URL: as many as there are threads that post at once."""

    def __init__(self, url: str, *, secret: str, internal: bool) -> None:
        """Raise `Invalid` for a URL that may not be used; `internal` allows HTTP, any port and private addresses.

        `secret` is cut out of answers: providers repeat a key that they refuse, and reasons are kept and logged.
        """
        self._url = check_url(url, internal=internal)
        self._anywhere = OutwardAnywhere(secret=secret, internal=internal)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply | Refused | Ambiguous | Broken:
        """Post JSON. `Refused`: nothing was written; `Ambiguous`: it was, and no whole answer came."""
        return self._anywhere.post(self._url, body, {"Content-Type": "application/json", **headers}, TOTAL_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._anywhere.close()


class OutwardAnywhere:
    """The same to any URL that passed `check_url`. One thread at a time."""

    def __init__(self, *, secret: str, internal: bool) -> None:
        self._secret = secret.encode()
        self._line = Line(internal=internal)
        self._pool: httpcore.ConnectionPool | None = None
        self._opening = threading.Lock()

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> Reply | Refused | Ambiguous | Broken:
        """Post within so many seconds. `Refused`: nothing was written; `Ambiguous`: it was, and no whole answer."""
        return self._ask("POST", url, body, headers, seconds)

    def get(self, url: str, headers: Mapping[str, str], seconds: float) -> Reply | Refused | Ambiguous | Broken:
        """Ask for what stands at a URL."""
        return self._ask("GET", url, None, headers, seconds)

    def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.close()

    def _ask(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> Reply | Refused | Ambiguous | Broken:
        self._line.start(time.monotonic() + seconds)
        sent = {"User-Agent": "oracle", **headers}
        timeouts = {"connect": CONNECT_SECONDS, "read": TOTAL_SECONDS, "write": TOTAL_SECONDS, "pool": CONNECT_SECONDS}
        try:
            with self._open().stream(
                method, url, headers=list(sent.items()), content=body, extensions={"timeout": timeouts}
            ) as answer:
                return self._read(answer)
        except NotPublic:
            return Broken("the address is not public (or set ORACLE_INTERNAL_ENDPOINTS)")
        except httpcore.LocalProtocolError as error:
            return Broken(f"the request cannot be written: {error}")
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
            return Refused(f"no connection: {type(error).__name__}", permanent=False)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            return Ambiguous(f"no answer: {type(error).__name__}")

    def _read(self, answer: httpcore.Response) -> Reply:
        body = b""
        for chunk in answer.iter_stream():
            body += chunk[: MAX_ANSWER - len(body)]
            if len(body) == MAX_ANSWER:
                break
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
        return Reply(answer.status, headers, body.replace(self._secret, b"***") if self._secret else body)

    def _open(self) -> httpcore.ConnectionPool:
        with self._opening:
            if self._pool is None:
                self._pool = httpcore.ConnectionPool(
                    ssl_context=httpx.create_ssl_context(),
                    max_connections=None,
                    keepalive_expiry=KEEP_ALIVE_SECONDS,
                    network_backend=self._line,
                )
            return self._pool


def answer_to(reply: Reply, provider_id: str) -> Answer:
    """Say what a reply means where a provider has no rule of its own. `provider_id` is what an accepted message is."""
    said = one_line(f"{reply.status} {reply.body[:300].decode('utf-8', 'replace')}")
    if reply.status < 300:
        return Delivered(provider_id, rate_limits.when_spent(reply.headers))
    if reply.status == 429:
        return Limited(said, rate_limits.when_refused(reply.headers))
    if reply.status == 408 or reply.status >= 500:
        return Ambiguous(said)
    # The key, the address or the account is wrong, and would be for every message.
    if reply.status < 400 or reply.status in (401, 403, 404, 405, 410):
        return Broken(said)
    return Refused(said, permanent=True)
