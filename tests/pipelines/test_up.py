"""`oracle up` as a person runs it: everything answers, everything stops, nothing is left, and it starts again."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.pipelines.installation import Up
from tests.ports import free, listening

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def started(home: Path) -> Iterator[list[Up]]:
    """What a test started, ended for certain when it is over."""
    found: list[Up] = []
    yield found
    for one in found:
        one.clean()


def of_home(folder: Path) -> list[str]:
    """Command lines of living processes that work in a folder."""
    named = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            named.append(line)
    return named


def test_up_answers_everywhere_stops_without_a_trace_and_starts_again(home: Path, started: list[Up]) -> None:
    first = Up(home)
    started.append(first)
    first.wait_until_ready()
    assert httpx.get(f"http://127.0.0.1:{first.api}/healthz").is_success
    assert httpx.get(f"http://127.0.0.1:{first.dagster}/server_info").is_success
    descendants = first.descendants()
    assert len(descendants) >= 5, "API, web server, daemon, and a code server each"

    second = Up(home, api=free(), dagster=free())
    started.append(second)
    assert second.process.wait(timeout=30) == 1
    assert "already up" in second.output

    assert first.stop() == 0, first.output
    assert not [process for process in descendants if process.is_running() and process.status() != "zombie"]
    assert of_home(home / "home") == []

    again = Up(home, api=first.api, dagster=first.dagster)
    started.append(again)
    again.wait_until_ready()
    assert again.stop(signal.SIGINT) == 0, again.output
    assert of_home(home / "home") == []


def test_up_says_plainly_when_a_port_is_taken_and_starts_nothing(home: Path, started: list[Up]) -> None:
    with listening() as port:
        refused = Up(home, api=port)
        started.append(refused)
        assert refused.process.wait(timeout=30) == 1
    assert f"Port {port}" in refused.output
    assert "ORACLE_API_PORT" in refused.output
    assert "Traceback" not in refused.output
    assert not (home / "home" / "postgres").exists()
