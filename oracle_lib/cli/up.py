"""A running installation: the database, the API and Dagster, from the first start to the last child's end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from oracle_lib.cli import home, services
from oracle_lib.cli.supervisor import Service, Supervisor, end_orphans, require_free_ports
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.migrate import migrate

START_SECONDS = 90.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Installation:
    """The store and the services of a home that is ours; what is started here is stopped with it."""

    settings: Settings
    store: Store
    supervisor: Supervisor
    api: Service
    webserver: Service
    daemon: Service

    def start(self, *wanted: Service) -> None:
        """Start services without waiting for their answer."""
        for service in wanted:
            self.supervisor.start(service)

    def wait(self, *wanted: Service) -> None:
        """Wait until each of the services answers."""
        for service in wanted:
            self.supervisor.wait(service, START_SECONDS)

    def links(self) -> list[str]:
        """Return what to open, one line each."""
        return [
            f"API and panel   {services.api_url(self.settings)}/admin/oracle",
            f"Dagster         {services.dagster_url(self.settings)}",
        ]


@contextmanager
def installation(settings: Settings, say: Say) -> Iterator[Installation]:
    """Make the home ours, with its database running and migrated; at the end stop every child, then the database.

    Raises `Conflict` when another process has the home or a port is taken, before anything is started.
    """
    stopping = _Stopping()
    with home.alone(settings), stopping:
        end_orphans(settings.home_path)
        api, webserver = services.api(settings), services.dagster_webserver(settings)
        require_free_ports([api, webserver])
        say("Starting PostgreSQL" if settings.database_url is None else "Connecting to PostgreSQL")
        with home.database(settings) as addresses:
            home.prepare_dagster(settings)
            store = Store(addresses.oracle)
            with store.transaction() as conn:
                migrate(conn)
            supervisor = Supervisor(settings.home_path, home.environment(settings, addresses), say)
            try:
                daemon = services.dagster_daemon(settings)
                yield Installation(settings, store, supervisor, api, webserver, daemon)
            finally:
                stopping.begin()
                say("Stopping")
                supervisor.stop()
                store.close()


def run(settings: Settings, say: Say) -> None:
    """Start everything, say where it is, and stay until interrupted (Ctrl-C or SIGTERM)."""
    with installation(settings, say) as ours:
        say("Starting the API and Dagster")
        ours.start(ours.api, ours.webserver, ours.daemon)
        ours.wait(ours.api, ours.webserver, ours.daemon)
        for line in ours.links():
            say(line)
        say("Ready. Ctrl-C stops everything.")
        ours.supervisor.watch()


class _Stopping:
    """Makes SIGTERM and a closed terminal end the program as Ctrl-C does, and lets nothing cut the stopping short."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, _interrupt) for number in self._SIGNALS}

    def begin(self) -> None:
        """From here on ignore every further signal: what runs now is the end."""
        for number in self._SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
