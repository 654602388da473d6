"""Requests leave only to public addresses over HTTPS, end in time and bring back no more than they may.

Control: a line that allows internal addresses reaches the canary, so what is refused is refused by the rule.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpcore
import pytest
import trustme

from oracle_lib.errors import Invalid
from oracle_lib.execute.channels import Ambiguous, Broken, Refused
from oracle_lib.execute.channels.line import Line, NotPublic, check_url, is_public
from oracle_lib.execute.channels.outward import MAX_ANSWER, Outward, Reply
from tests.providers.wire import Drips, Provider, Says, serving

_NO = "no connection"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(Provider()) as made:
        yield made


def post(url: str, body: bytes = b"{}", *, internal: bool = True) -> Reply | Refused | Ambiguous | Broken:
    with closing(Outward(url, secret="secret", internal=internal)) as out:
        return out.post(body, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://academy.example/",
        "https://academy.example:8443/",
        "https://ada@academy.example/",
        "https://ada:pw@academy.example/",
        "https://academy.example/#x",
        "https://academy.example\\@127.0.0.1/",
        "https://academy.example/ x",
        "https://academy.example/\r\nHost: x",
        "https://münchen.example/",
        "https:///path",
        "https://academy.example:port/",
        "https://[::1/",
        "ftp://academy.example/",
        "file:///etc/passwd",
        "academy.example",
        "",
    ],
)
def test_a_url_that_may_not_be_used_is_refused_when_it_is_set(url: str) -> None:
    with pytest.raises(Invalid):
        check_url(url, internal=False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "ff02::1",
    ],
)
def test_private_addresses_are_seen_in_every_wrapping(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


HERE = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "0"]


@pytest.mark.parametrize("host", HERE)
def test_no_spelling_of_this_machine_reaches_a_canary(host: str) -> None:
    with canary() as (port, heard):
        with pytest.raises((NotPublic, httpcore.ConnectError)):
            Line(internal=False).connect_tcp(host, port, timeout=2)
        assert not heard()


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "localhost", "::ffff:127.0.0.1"])
def test_control_the_same_spellings_reach_it_where_internal_addresses_are_allowed(host: str) -> None:
    with canary() as (port, heard):
        Line(internal=True).connect_tcp(host, port, timeout=2).close()
        assert heard()


@contextmanager
def canary() -> Iterator[tuple[int, Callable[[], bool]]]:
    """Listen on this machine; the function says whether somebody has connected."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)

        def heard() -> bool:
            try:
                listening.accept()[0].close()
            except TimeoutError:
                return False
            return True

        yield listening.getsockname()[1], heard


def test_a_url_that_names_this_machine_is_refused_when_it_is_posted_to() -> None:
    assert post("https://127.0.0.1/", internal=False) == Broken(
        "the address is not public (or set ORACLE_INTERNAL_ENDPOINTS)"
    )


def test_a_name_is_looked_at_again_whenever_it_is_connected_to(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(provider.url.rpartition(":")[2])
    private = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    asked: list[str] = []

    def rebinding(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        return list(private)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert isinstance(post("https://rebinding.example/", internal=False), Broken)
    assert asked == ["rebinding.example"]
    assert provider.requests == []


def test_a_redirect_is_not_followed(provider: Provider) -> None:
    provider.mishaps = [Says(307, headers={"Location": f"{provider.url}/elsewhere"})]
    answer = post(provider.url)
    assert isinstance(answer, Reply)
    assert answer.status == 307
    assert len(provider.requests) == 1


@pytest.mark.usefixtures("short_time")
def test_an_answer_that_drips_ends_in_time(provider: Provider) -> None:
    provider.mishaps = [Drips(0.05)]
    began = time.monotonic()
    assert isinstance(post(provider.url), Ambiguous)
    assert time.monotonic() - began < 3


def test_an_answer_is_read_up_to_a_megabyte(provider: Provider) -> None:
    provider.mishaps = [Says(200, b"x" * (3 * MAX_ANSWER))]
    answer = post(provider.url)
    assert isinstance(answer, Reply)
    assert len(answer.body) == MAX_ANSWER


def test_a_secret_that_is_repeated_is_cut_out(provider: Provider) -> None:
    provider.mishaps = [Says(401, b"bad key: secret")]
    answer = post(provider.url)
    assert isinstance(answer, Reply)
    assert answer.body == b"bad key: ***"


def test_a_server_is_sent_something_only_if_its_certificate_is_for_the_name_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    with serving(Provider(), tls) as provider:
        port = provider.url.rpartition(":")[2]
        stranger = post(f"https://localhost:{port}/")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        trusted = post(f"https://localhost:{port}/")
        another = post(f"https://127.0.0.1:{port}/")
    assert isinstance(trusted, Reply)
    assert stranger == another == Refused(f"{_NO}: ConnectError", permanent=False)
    assert len(provider.requests) == 1


def test_a_name_without_an_address_is_no_connection() -> None:
    assert post("https://nowhere.invalid/") == Refused(f"{_NO}: ConnectError", permanent=False)
