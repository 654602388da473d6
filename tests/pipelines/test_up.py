"""`oracle up` as a person runs it: everything answers, everything stops, nothing is left, and it starts again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from oracle_lib.cli.supervisor import end_trees
from tests.ports import free, listening

ORACLE = Path(sys.executable).with_name("oracle")
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("up")]


class Up:
    """One `oracle up`, its output and its descendants."""

    def __init__(self, folder: Path, **ports: int) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORACLE_", "DAGSTER_"))}
        self.api, self.dagster = ports.get("api") or free(), ports.get("dagster") or free()
        self._out = (folder / "out.txt").open("w+")
        settings = {
            "ORACLE_HOME": str(folder / "home"),
            "ORACLE_API_PORT": str(self.api),
            "ORACLE_DAGSTER_PORT": str(self.dagster),
        }
        self.process = psutil.Popen(
            [ORACLE, "up"], env=kept | settings, stdout=self._out, stderr=subprocess.STDOUT, start_new_session=True
        )

    @property
    def output(self) -> str:
        self._out.flush()
        return Path(self._out.name).read_text()

    def wait_until_ready(self) -> None:
        until = time.monotonic() + 150
        while "Ready" not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < until, self.output
            time.sleep(0.2)

    def descendants(self) -> list[psutil.Process]:
        return list(self.process.children(recursive=True))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return int(self.process.wait(timeout=60))

    def clean(self) -> None:
        with suppress(psutil.NoSuchProcess):
            end_trees([psutil.Process(self.process.pid)])
        self._out.close()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Up]]:
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


def test_up_answers_everywhere_stops_without_a_trace_and_starts_again(tmp_path: Path, started: list[Up]) -> None:
    first = Up(tmp_path)
    started.append(first)
    first.wait_until_ready()
    assert httpx.get(f"http://127.0.0.1:{first.api}/healthz").is_success
    assert httpx.get(f"http://127.0.0.1:{first.dagster}/server_info").is_success
    descendants = first.descendants()
    assert len(descendants) >= 5, "API, web server, daemon, and a code server each"

    second = Up(tmp_path, api=free(), dagster=free())
    started.append(second)
    assert second.process.wait(timeout=30) == 1
    assert "already up" in second.output

    assert first.stop() == 0, first.output
    assert not [process for process in descendants if process.is_running() and process.status() != "zombie"]
    assert of_home(tmp_path / "home") == []

    again = Up(tmp_path, api=first.api, dagster=first.dagster)
    started.append(again)
    again.wait_until_ready()
    assert again.stop(signal.SIGINT) == 0, again.output
    assert of_home(tmp_path / "home") == []


def test_up_says_plainly_when_a_port_is_taken_and_starts_nothing(tmp_path: Path, started: list[Up]) -> None:
    with listening() as port:
        refused = Up(tmp_path, api=port)
        started.append(refused)
        assert refused.process.wait(timeout=30) == 1
    assert f"Port {port}" in refused.output
    assert "ORACLE_API_PORT" in refused.output
    assert "Traceback" not in refused.output
    assert not (tmp_path / "home" / "postgres").exists()
