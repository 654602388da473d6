"""`oracle up` as a process of its own, in a home of its own, on ports of its own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from oracle_lib.cli.supervisor import end_trees
from tests.ports import free

ORACLE = Path(sys.executable).with_name("oracle")


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
            # Otherwise what a test approves would wait at night.
            "ORACLE_QUIET_HOURS": "",
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
