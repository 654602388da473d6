"""The one way derived rows are written: only what changed, with the history of what changed.

A stage says which rows should stand (an Ibis expression); `publish` makes it so in one statement: rows that are equal
are not touched, rows of the scope that should no longer stand are deleted, and the changes of named columns are kept.
Doing it twice writes nothing the second time.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

from oracle_lib.storage.locks import lock

_quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Published:
    """What one publish did: rows seen in the expression, and of them inserted, updated, deleted."""

    seen: int
    inserted: int
    updated: int
    deleted: int

    @property
    def written(self) -> int:
        """Rows that are not as they were."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class Causes:
    """Why rows changed: the `cause` of their user in the temporary table `known`, and `otherwise` for all others."""

    known: str
    otherwise: str


@dataclass(frozen=True)
class History:
    """Where to keep the changes of `columns`: a table with user_id, field, old, new, as_of and cause."""

    table: sa.Table
    columns: Sequence[str]
    as_of: date
    causes: Causes


@dataclass(frozen=True)
class Scope:
    """The rows a stage answers for: those whose `columns` stand in the temporary table `keys`; all of them if None."""

    keys: str | None
    columns: Sequence[str] = field(default=("user_id",))


@contextmanager
def scanning(conn: Connection) -> Iterator[None]:
    """Tell the planner that statements inside read whole tables.

    It guesses a grouped join at a handful of rows and walks it in nested loops: 15 s where a hash join takes 0.1 s.
    """
    conn.exec_driver_sql("SET LOCAL enable_nestloop = off")
    yield
    conn.exec_driver_sql("SET LOCAL enable_nestloop = on")


def run(conn: Connection, sql: str) -> sa.CursorResult:
    """Execute compiled SQL as it is: a `%` or `:` in a literal is data, not a placeholder."""
    return conn.exec_driver_sql(sql, execution_options={"no_parameters": True})


def compiled(expression: ibis.Expr) -> str:
    """Compile an expression to PostgreSQL."""
    return str(ibis.to_sql(expression, dialect="postgres", pretty=False))


def composed_over(query: str, stand_ins: Mapping[str, str]) -> str:
    """Put queries in the place of the stored tables they are named for, within a query that reads those.

    A stand-in reads stored tables by their schema, and stand-ins before it by their bare name.
    """
    named = ", ".join(f"{_quote(name)} AS NOT MATERIALIZED ({one})" for name, one in stand_ins.items())
    return f"WITH {named} SELECT * FROM ({query}) AS seen"


def scratch_table(conn: Connection, name: str, rows: ibis.Table | str) -> int:
    """Keep an expression's (or a query's) rows in a temporary table until the transaction ends; return their number."""
    query = rows if isinstance(rows, str) else compiled(rows)
    run(conn, f"DROP TABLE IF EXISTS {_quote(name)}")
    made = run(conn, f"CREATE TEMPORARY TABLE {_quote(name)} ON COMMIT DROP AS {query}")
    run(conn, f"ANALYZE {_quote(name)}")
    return made.rowcount


def publish(
    conn: Connection,
    target: sa.Table,
    rows: ibis.Table,
    *,
    key: Sequence[str],
    scope: Scope | None = None,
    history: History | None = None,
) -> Published:
    """Make `target` hold `rows` by `key`, writing only what differs.

    `scope` names the rows of `target` that must be in `rows` or go; without one nothing is deleted. The stage holds the
    lock named by the table, taken before anything it reads. Columns of `target` that `rows` lacks keep their value or
    default; `updated_at` moves when a row does.
    """
    lock(conn, target.name)
    statement = _statement(target, rows, key=list(key), scope=scope, history=history)
    seen, inserted, updated, deleted = run(conn, statement).one()
    return Published(seen=seen, inserted=inserted, updated=updated, deleted=deleted)


def overwrite(
    conn: Connection, target: sa.Table, rows: ibis.Table, *, key: Sequence[str], history: History | None = None
) -> Published:
    """Write `rows` over those of `target` that stand, as `publish` does; nothing is added and nothing deleted."""
    lock(conn, target.name)
    statement = _statement(target, rows, key=list(key), scope=None, history=history, add=False)
    seen, inserted, updated, deleted = run(conn, statement).one()
    return Published(seen=seen, inserted=inserted, updated=updated, deleted=deleted)


def _statement(
    target: sa.Table,
    rows: ibis.Table,
    *,
    key: list[str],
    scope: Scope | None,
    history: History | None,
    add: bool = True,
) -> str:
    """Compose the statement. Every name in it comes from our own table definitions, every value from Ibis literals."""
    names = list(rows.columns)
    data = [name for name in names if name not in key]
    on = " AND ".join(f"t.{_quote(name)} = f.{_quote(name)}" for name in key)
    parts = [f"fresh AS MATERIALIZED ({compiled(rows)})"]
    gone = "SELECT 0"
    if scope is not None:
        same = " AND ".join(f"t.{_quote(name)} = k.{_quote(name)}" for name in scope.columns)
        within = "WHERE" if scope.keys is None else f"USING {_quote(scope.keys)} k WHERE {same} AND"
        parts.append(
            f"gone AS (DELETE FROM {_quote(target.name)} t {within}"
            f" NOT EXISTS (SELECT 1 FROM fresh f WHERE {on}) RETURNING 1)"
        )
        gone = "SELECT count(*) FROM gone"
    insert = _insert(names) if add else ""
    parts.append(f"merged AS ({_merge(target, data, on, insert, history)})")
    if history is not None:
        changes = ", ".join(f"('{name}', old_{name}::text, new_{name}::text)" for name in history.columns)
        parts.append(
            f"kept AS (INSERT INTO {_quote(history.table.name)} (user_id, field, old, new, as_of, cause)"
            f" SELECT m.user_id, field, old, new, DATE '{history.as_of:%Y-%m-%d}',"
            f" COALESCE(k.cause, '{history.causes.otherwise}') FROM merged m"
            f" CROSS JOIN LATERAL (VALUES {changes}) AS change(field, old, new)"
            f" LEFT JOIN {_quote(history.causes.known)} k ON k.user_id = m.user_id WHERE old IS DISTINCT FROM new)"
        )
    return (
        f"WITH {', '.join(parts)} SELECT (SELECT count(*) FROM fresh),"
        " count(*) FILTER (WHERE act = 'INSERT'), count(*) FILTER (WHERE act = 'UPDATE'),"
        f" ({gone}) FROM merged"
    )


def _insert(names: list[str]) -> str:
    columns = ", ".join(_quote(name) for name in names)
    values = ", ".join(f"f.{_quote(name)}" for name in names)
    return f" WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({values})"


def _merge(target: sa.Table, data: list[str], on: str, insert: str, history: History | None) -> str:
    old = ", ".join(f"t.{_quote(name)}" for name in data)
    new = ", ".join(f"f.{_quote(name)}" for name in data)
    assignments = [f"{_quote(name)} = f.{_quote(name)}" for name in data]
    if "updated_at" in target.columns:
        assignments.append("updated_at = now()")
    returning = ["merge_action() AS act"]
    if history is not None:
        returning.append("new.user_id AS user_id")
        returning += [f"{side}.{_quote(name)} AS {side}_{name}" for name in history.columns for side in ("old", "new")]
    matched = (
        f" WHEN MATCHED AND ({old}) IS DISTINCT FROM ({new}) THEN UPDATE SET {', '.join(assignments)}" if data else ""
    )
    return f"MERGE INTO {_quote(target.name)} t USING fresh f ON {on}{matched}{insert} RETURNING {', '.join(returning)}"
