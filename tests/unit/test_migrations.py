"""The migrations build exactly the tables that `storage/tables` states, and applying them twice changes nothing."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from oracle_lib.storage import migrate
from oracle_lib.storage.engine import SCHEMA, psycopg_url
from oracle_lib.storage.tables import metadata
from oracle_lib.storage.tables.actions import LEGAL_MOVES


def test_migrated_tables_are_the_stated_tables(database_url: str) -> None:
    def ours(name: str | None, kind: str, _: object) -> bool:
        return name == SCHEMA if kind == "schema" else kind != "table" or f"{SCHEMA}.{name}" in metadata.tables

    options = {"include_schemas": True, "include_name": ours, "version_table_schema": SCHEMA}
    # Not through Store: with our schema as the default one, Alembic would look for tables without a schema.
    engine = sa.create_engine(psycopg_url(database_url))
    with engine.connect() as conn:
        assert compare_metadata(MigrationContext.configure(conn, opts=options), metadata) == []
    engine.dispose()


def test_migrating_again_changes_nothing(conn: Connection) -> None:
    before = migrate.revision(conn)
    assert migrate.migrate(conn) == before == migrate.head()


def test_the_database_knows_the_same_moves_as_the_library(conn: Connection) -> None:
    source = conn.exec_driver_sql("SELECT prosrc FROM pg_proc WHERE proname = 'refuse_illegal_move'").scalar_one()
    for old, targets in LEGAL_MOVES.items():
        for new in LEGAL_MOVES:
            assert (f"'{old}>{new}'" in source) == (new in targets), f"{old} > {new}"
