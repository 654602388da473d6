"""A receiver of events in a process of its own, to be killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]


class Receiver:
    """The process, at an address that stays the same."""

    def __init__(self, command: Callable[[int], list[str]], url: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = command(self.port)
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ORACLE_DATABASE_URL": url,
            "ORACLE_EVENTS_PER_SECOND": "1000000",
        }
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.address}/healthz", timeout=1)
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("the receiver did not start")

    def memory(self) -> float:
        """Its resident memory, in MB."""
        return psutil.Process(self._process.pid).memory_info().rss / 2**20

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def api(port: int) -> list[str]:
    options = ["--factory", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    return [sys.executable, "-m", "uvicorn", "oracle_api.app:from_environment", *options]
