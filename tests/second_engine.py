"""The rows of PostgreSQL copied into DuckDB, to ask both engines the same."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import sqlalchemy as sa
from ibis.backends.sql.datatypes import DuckDBType
from sqlalchemy import Connection

from oracle_lib.storage.relations import relation

# Said, not guessed: what a guess makes of texts full of quotes and line ends is another table.
_AS_WRITTEN = """FORMAT csv, HEADER false, AUTO_DETECT false, DELIMITER ',', QUOTE '"', ESCAPE '"'"""


@contextmanager
def copied(conn: Connection, tables: Iterable[sa.Table], folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a DuckDB that holds `tables` as they stand; `folder` keeps the files between."""
    with duckdb.connect() as there:
        there.execute("SET TimeZone = 'UTC'")
        for table in tables:
            schema = relation(table).schema()
            columns = ", ".join(f'"{name}" {DuckDBType.to_string(kind)}' for name, kind in schema.items())
            there.execute(f"CREATE TABLE {table.name} ({columns})")
            file = folder / f"{table.name}.csv"
            # By name: a migrated table may have its columns in another order than a new one.
            query = f"SELECT {', '.join(schema)} FROM {table.name}"
            with conn.connection.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT CSV") as rows:
                file.write_bytes(b"".join(rows))
            there.execute(f"COPY {table.name} FROM '{file}' ({_AS_WRITTEN})")
        yield there
