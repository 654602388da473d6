"""What `oracle up` runs: the API, Dagster's web server and its daemon, and how each is asked whether it answers."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from oracle_lib.cli.home import root_file
from oracle_lib.cli.supervisor import Service
from oracle_lib.settings import Settings

# Beyond so many connections the API answers 503 instead of running out of files; a stream does not keep it from ending.
_API_BOUNDS = ("--limit-concurrency", "900", "--timeout-graceful-shutdown", "5")
_ANSWER_SECONDS = 2.0
_DAEMON_HEALTH = "{ instance { daemonHealth { allDaemonStatuses { required healthy lastHeartbeatTime } } } }"


def api(settings: Settings) -> Service:
    """Return the API and panel."""
    command = [sys.executable, "-m", "uvicorn", "oracle_api.app:from_environment", "--factory"]
    listen = ["--host", settings.api_host, "--port", str(settings.api_port)]
    return Service(
        name="API",
        command=[*command, *listen, *_API_BOUNDS],
        answers=_answers(f"{api_url(settings)}/healthz"),
        host=settings.api_host,
        port=settings.api_port,
        port_setting="ORACLE_API_PORT",
    )


def dagster_webserver(settings: Settings) -> Service:
    """Return Dagster's web server; it has no login, so it listens where the setting says: loopback."""
    listen = ["-h", settings.dagster_host, "-p", str(settings.dagster_port)]
    return Service(
        name="Dagster web server",
        command=[_program("dagster-webserver"), *listen, "-w", str(root_file("workspace.yaml"))],
        answers=_answers(f"{dagster_url(settings)}/server_info"),
        host=settings.dagster_host,
        port=settings.dagster_port,
        port_setting="ORACLE_DAGSTER_PORT",
    )


def dagster_daemon(settings: Settings) -> Service:
    """Return Dagster's daemon: schedules, sensors and the run queue. Its health is asked of the web server."""
    return Service(
        name="Dagster daemon",
        command=[_program("dagster-daemon"), "run", "-w", str(root_file("workspace.yaml"))],
        answers=_daemon_answers(f"{dagster_url(settings)}/graphql"),
    )


def api_url(settings: Settings) -> str:
    """Return the API's address as a browser on this machine reaches it."""
    return f"http://{_reached(settings.api_host)}:{settings.api_port}"


def dagster_url(settings: Settings) -> str:
    """Return the Dagster web server's address as a browser on this machine reaches it."""
    return f"http://{_reached(settings.dagster_host)}:{settings.dagster_port}"


def _reached(host: str) -> str:
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound


def _program(name: str) -> str:
    """Return a console script of this very environment, whatever PATH says."""
    return str(Path(sys.executable).with_name(name))


def _answers(url: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return httpx.get(url, timeout=_ANSWER_SECONDS).is_success
        except httpx.HTTPError:
            return False

    return ask


def _daemon_answers(url: str) -> Callable[[], bool]:
    # A daemon that ended minutes ago still counts as healthy there: only a heartbeat of this start will do.
    since = time.time()

    def ask() -> bool:
        try:
            answer = httpx.post(url, json={"query": _DAEMON_HEALTH}, timeout=_ANSWER_SECONDS).json()
            statuses = answer["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False
        required = [status for status in statuses if status["required"]]
        return all(status["healthy"] and status["lastHeartbeatTime"] >= since for status in required)

    return ask
