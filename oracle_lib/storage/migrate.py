"""Brings a database to the tables this version knows. Safe at every start, also from several processes."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from oracle_lib.storage.engine import SCHEMA
from oracle_lib.storage.locks import lock


def config(conn: Connection) -> Config:
    """Return Alembic's configuration on an open connection."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.attributes["connection"] = conn
    return made


def migrate(conn: Connection) -> str | None:
    """Apply every migration that is missing; return the revision the database stands at. Does not commit."""
    lock(conn, "migrate")
    conn.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    command.upgrade(config(conn), "head")
    return revision(conn)


def revision(conn: Connection) -> str | None:
    """Return the revision the database stands at; None before the first."""
    return MigrationContext.configure(conn, opts={"version_table_schema": SCHEMA}).get_current_revision()


def head() -> str | None:
    """Return the newest revision this version knows."""
    folder = Path(__file__).parent / "migrations"
    return ScriptDirectory(str(folder)).get_current_head()
