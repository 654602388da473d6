"""Child processes of `oracle up`: started in groups of their own, watched, and stopped without leaving one behind.

A child that ends by itself is started again, a few times; then everything stops and says so. Children of a process that
was killed before it could stop them are found by the record it left, and ended before new ones start.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from oracle_lib.errors import Conflict, Permanent
from oracle_lib.settings import inherited

_RECORD = "children.json"
_GRACE_SECONDS = 15.0
_POLL_SECONDS = 0.2
_RESTARTS = 3
_RESTARTS_WITHIN = 600.0
_LOG_TAIL = 12


@dataclass(frozen=True)
class Service:
    """One child: its command, the question that tells whether it answers, and the port it needs."""

    name: str
    command: Sequence[str]
    answers: Callable[[], bool]
    host: str | None = None
    port: int | None = None
    port_setting: str | None = None


@dataclass
class _Child:
    service: Service
    process: psutil.Popen
    restarts: list[float] = field(default_factory=list)


class Supervisor:
    """Starts, watches and stops services. `folder` is the home; logs go to its `logs`."""

    def __init__(self, folder: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._record = folder / _RECORD
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._environment = {**inherited(), **environment}
        self._say = say
        self._children: list[_Child] = []

    def start(self, service: Service) -> None:
        """Start a service; `wait` says when it answers."""
        self._children.append(_Child(service, self._spawn(service)))
        self._write_record()

    def wait(self, service: Service, seconds: float) -> None:
        """Wait until a service answers. Raises `Permanent` with the end of its log when it ends or takes too long."""
        child = next(child for child in self._children if child.service is service)
        until = time.monotonic() + seconds
        while not service.answers():
            if child.process.poll() is not None:
                raise Permanent(f"{service.name} ended while starting. {self._tail(service)}")
            if time.monotonic() > until:
                raise Permanent(f"{service.name} did not answer within {seconds:.0f} s. {self._tail(service)}")
            time.sleep(_POLL_SECONDS)

    def watch(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Watch for ever and do `meanwhile` once a second; raise `Permanent` when a service keeps ending."""
        while True:
            for child in self._children:
                if child.process.poll() is not None:
                    self._restart(child)
            meanwhile()
            time.sleep(1.0)

    def stop(self) -> None:
        """End every child and grandchild: asked first, killed after a grace. None is left when this returns."""
        started = [psutil.Process(child.process.pid) for child in self._children if child.process.is_running()]
        end_trees(started)
        for child in self._children:
            child.process.wait()
        self._children.clear()
        self._record.unlink(missing_ok=True)

    def _spawn(self, service: Service) -> psutil.Popen:
        with self._log(service).open("ab") as log:
            return psutil.Popen(
                list(service.command),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches this process alone; children are stopped in order, by us.
                start_new_session=True,
            )

    def _restart(self, child: _Child) -> None:
        now = time.monotonic()
        child.restarts = [*(moment for moment in child.restarts if moment > now - _RESTARTS_WITHIN), now]
        ended = f"{child.service.name} ended by itself (code {child.process.returncode})."
        if len(child.restarts) > _RESTARTS:
            raise Permanent(f"{ended} It was started {_RESTARTS} times and keeps ending. {self._tail(child.service)}")
        self._say(f"{ended} Starting it again; its log: {self._log(child.service)}")
        _kill_group(child.process.pid)
        child.process = self._spawn(child.service)
        self._write_record()

    def _log(self, service: Service) -> Path:
        return self._logs / f"{service.name.lower().replace(' ', '-')}.log"

    def _tail(self, service: Service) -> str:
        lines = self._log(service).read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        return "\n".join([f"Its log, {self._log(service)}, ends:", *lines])

    def _write_record(self) -> None:
        rows = [[child.process.pid, child.process.create_time()] for child in self._children if _lives(child)]
        self._record.write_text(json.dumps(rows))


def end_orphans(folder: Path) -> None:
    """End what an earlier process left: same id and same birth, so never a stranger that got the number."""
    record = folder / _RECORD
    if not record.exists():
        return
    found = []
    for pid, born in json.loads(record.read_text() or "[]"):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == born:
                found.append(process)
    end_trees(found)
    record.unlink(missing_ok=True)


def end_trees(processes: Sequence[psutil.Process]) -> None:
    """End processes with all their descendants, and whoever else is in the groups they lead."""
    everyone: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            everyone += [*process.children(recursive=True), process]
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(everyone, timeout=_GRACE_SECONDS)
    for process in processes:
        _kill_group(process.pid)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_GRACE_SECONDS)


def require_free_ports(services: Sequence[Service]) -> None:
    """Raise `Conflict` that names every taken port and the setting that moves it."""
    taken = [
        f"Port {service.port} on {service.host}, for {service.name}, is taken: stop what listens there, or set "
        f"{service.port_setting} to a free one."
        for service in services
        if service.port is not None and service.host is not None and port_taken(service.host, service.port)
    ]
    if taken:
        raise Conflict("\n".join(taken))


def port_taken(host: str, port: int) -> bool:
    """Say whether somebody listens on an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Without this, connections of an earlier run that wait to be forgotten would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _lives(child: _Child) -> bool:
    return bool(child.process.is_running())
