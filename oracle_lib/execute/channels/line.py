"""Where a request may go: URLs that may be posted to, addresses that may be connected to, and how long it may take.

Addresses are looked at when the connection is made, not before: the name is resolved, every address that is not public
is passed over, and the connection goes to an address that was looked at. A name that resolves to something else the
next time gains nothing (SSRF by DNS rebinding).
"""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore

from oracle_lib.errors import Invalid

# Addresses that carry an IPv4 address to which a gateway would pass the connection on: NAT64, 6to4.
_CARRIERS = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16"))


def check_url(url: str, *, internal: bool) -> str:
    """Return a URL that may be posted to: https, port 443, no user or fragment. Raises `Invalid`.

    `internal` also allows HTTP and other ports.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid("It is not a URL.", code="bad_url") from error
    if not parts.hostname or parts.username is not None or parts.password is not None or parts.fragment:
        raise Invalid("It must name a host, without user, password or fragment.", code="bad_url")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise Invalid("It holds characters that no URL has.", code="bad_url")
    if parts.scheme != "https" and not (internal and parts.scheme == "http"):
        raise Invalid("It must begin with https:// (or set ORACLE_INTERNAL_ENDPOINTS).", code="bad_url")
    if port not in (None, 443) and not internal:
        raise Invalid("Its port must be 443 (or set ORACLE_INTERNAL_ENDPOINTS).", code="bad_url")
    return url


def is_public(address: str) -> bool:
    """Say whether an IP address is one of the open internet, seen through what may be wrapped around it."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.is_site_local or any(ip in network for network in _CARRIERS):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


class NotPublic(Exception):
    """The name leads to private addresses only."""


class Line(httpcore.NetworkBackend):
    """Connects to public addresses only, each read and write within what is left of the request's time.

    A request is a thread's: threads share the connections, and each has its own time.
    """

    def __init__(self, *, internal: bool) -> None:
        self._internal = internal
        self._sockets = httpcore.SyncBackend()
        self._request = threading.local()

    def start(self, until: float) -> None:
        """Begin a request of this thread that ends at a moment of the monotonic clock."""
        self._request.until = until

    def left(self, timeout: float | None) -> float:
        """Return how many seconds the next step may take."""
        rest = self._request.until - time.monotonic()
        if rest <= 0:
            raise httpcore.ReadTimeout
        return rest if timeout is None else min(rest, timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers, of those that were looked at."""
        last: Exception = NotPublic()
        for address in self._addresses(host, port):
            try:
                made = self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
            else:
                return _Timed(made, self)
        raise last

    def _addresses(self, host: str, port: int) -> list[str]:
        """Resolve a name; at most two addresses, so that trying them ends within the request's time."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} has no address") from error
        named = dict.fromkeys(str(one[4][0]) for one in found)
        return [address for address in named if self._internal or is_public(address)][:2]


class _Timed(httpcore.NetworkStream):
    """A connection whose every step is bounded by its line."""

    def __init__(self, inner: httpcore.NetworkStream, line: Line) -> None:
        self._inner = inner
        self._line = line

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._line.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._line.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._inner.start_tls(ssl_context, server_hostname, self._line.left(timeout)), self._line)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
