"""The one way derived rows are written: only what changed, with the history of what changed.

A stage says which rows should stand (an Ibis expression); `publish` makes it so: rows that are equal are not touched,
rows of the scope that should no longer stand are deleted, and the changes of named columns are kept. Doing it twice
writes nothing the second time. What differs is found first, and is all that is ever kept or joined again: most rows of
a day are equal.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date

import ibis
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.engine import quoted
from oracle_lib.storage.locks import lock

_DIFFERING = "differing"
# PostgreSQL flattens selects within selects by itself; letting Ibis do it takes a quarter of the time to compose them.
ibis.options.sql.fuse_selects = False
# Composing makes objects by the ten thousand. Looking for garbage after every 700 of them, now and then through all
# that was ever imported, took 6 % of a daily chain.
gc.set_threshold(50_000)


@dataclass(frozen=True)
class Published:
    """What one publish did: rows inserted, updated, deleted."""

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

    It guesses a grouped join at a handful of rows and walks it in nested loops: 15 s where a hash join takes 0.1 s. And
    it thinks it dear to be handed rows by workers, which for so many at once it is not.
    """
    conn.exec_driver_sql("SET LOCAL enable_nestloop = off; SET LOCAL parallel_tuple_cost = 0.01")
    yield
    conn.exec_driver_sql("SET LOCAL enable_nestloop = on; SET LOCAL parallel_tuple_cost TO DEFAULT")


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
    named = ", ".join(f"{quoted(name)} AS NOT MATERIALIZED ({one})" for name, one in stand_ins.items())
    return f"WITH {named} SELECT * FROM ({query}) AS seen"


def scratch_table(conn: Connection, name: str, rows: ibis.Table | str, *, planned_by: Sequence[str] = ()) -> int:
    """Keep an expression's (or a query's) rows in a temporary table until the transaction ends; return their number.

    The planner is told of all columns, or of those in `planned_by`, which joins and conditions name.
    """
    made = _keep(conn, name, rows if isinstance(rows, str) else compiled(rows))
    columns = f" ({', '.join(map(quoted, planned_by))})" if planned_by else ""
    run(conn, f"ANALYZE {quoted(name)}{columns}")
    return made


def _keep(conn: Connection, name: str, query: str) -> int:
    run(conn, f"DROP TABLE IF EXISTS {quoted(name)}")
    return run(conn, f"CREATE TEMPORARY TABLE {quoted(name)} ON COMMIT DROP AS {query}").rowcount


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
    default; `updated_at` moves when a row does. New rows are written, and lie, in the order of `key`: an index in that
    order then grows at one place.
    """
    if scope is None:
        standing, join = quoted(target.name), "LEFT JOIN"
    else:
        standing, join = _answered_for(target, scope), "FULL JOIN"
    whole = scope is not None and scope.keys is None
    return _write(conn, target, rows, key=list(key), joined=f"{join} {standing}", history=history, whole=whole)


def overwrite(
    conn: Connection, target: sa.Table, rows: ibis.Table, *, key: Sequence[str], history: History | None = None
) -> Published:
    """Write `rows` over those of `target` that stand, as `publish` does; nothing is added and nothing deleted."""
    return _write(conn, target, rows, key=list(key), joined=f"JOIN {quoted(target.name)}", history=history)


def added(name: str) -> str:
    """Return the sum of a column of the standing row `t` and of what is merged into it, `m`, as SQL."""
    return f"t.{quoted(name)} + m.{quoted(name)}"


def merge(
    conn: Connection, target: sa.Table, more: ibis.Table, *, key: str, becomes: Callable[[str], str] = added
) -> int:
    """Bring `more` into the rows of `target` that stand, by `key`; return how many of them.

    `becomes` says in SQL what becomes of a column. Nothing is compared first: `more` is of rows that change.
    """
    lock(conn, target.name)
    made = ", ".join(f"{quoted(name)} = {becomes(name)}" for name in more.columns if name != key)
    query = f"UPDATE {quoted(target.name)} t SET {made} FROM ({compiled(more)}) m WHERE {_equal('t', 'm', [key])}"
    return run(conn, query).rowcount


def _answered_for(target: sa.Table, scope: Scope) -> str:
    """Return the rows of `target` that a stage answers for."""
    if scope.keys is None:
        return quoted(target.name)
    same = _equal("s", "k", scope.columns)
    return f"(SELECT * FROM {quoted(target.name)} s WHERE EXISTS (SELECT FROM {quoted(scope.keys)} k WHERE {same}))"


def _write(
    conn: Connection,
    target: sa.Table,
    rows: ibis.Table,
    *,
    key: list[str],
    joined: str,
    history: History | None,
    whole: bool = False,
) -> Published:
    """Write those of `rows` that differ from the rows `joined` to them: of the `whole` table, or of few.

    Every name in the statements comes from our own table definitions, every value from Ibis literals.
    """
    lock(conn, target.name)
    data = [name for name in rows.columns if name not in key]
    with scanning(conn) if whole else nullcontext():
        kept = _keep(conn, _DIFFERING, _differing(rows, key, data, joined, history))
    if not kept:
        return Published(0, 0, 0)
    found = run(conn, f"SELECT act, count(*) FROM {_DIFFERING} GROUP BY act")
    counts: dict[str, int] = {row[0]: row[1] for row in found}
    name, same = quoted(target.name), _equal("t", "d", key)
    if "delete" in counts:
        run(conn, f"DELETE FROM {name} t USING {_DIFFERING} d WHERE d.act = 'delete' AND {same}")
    if "update" in counts:
        # What is deleted is gone and what is inserted not there yet: no others are met.
        made = [f"{quoted(one)} = d.{quoted(one)}" for one in data]
        made += ["updated_at = now()"] if "updated_at" in target.columns else []
        run(conn, f"UPDATE {name} t SET {', '.join(made)} FROM {_DIFFERING} d WHERE {same}")
    if "insert" in counts:
        columns = ", ".join(map(quoted, rows.columns))
        fresh = f"SELECT {columns} FROM {_DIFFERING} WHERE act = 'insert' ORDER BY {', '.join(map(quoted, key))}"
        run(conn, f"INSERT INTO {name} ({columns}) {fresh}")
    if history is not None:
        run(conn, _kept(history))
    return Published(inserted=counts.get("insert", 0), updated=counts.get("update", 0), deleted=counts.get("delete", 0))


def _differing(rows: ibis.Table, key: list[str], data: list[str], joined: str, history: History | None) -> str:
    """Compose the query of what is to be written, with what is to become of it in `act`."""
    first = quoted(key[0])
    columns = [f"COALESCE(f.{quoted(name)}, t.{quoted(name)}) AS {quoted(name)}" for name in key]
    columns += [f"f.{quoted(name)}" for name in data]
    columns += [f"t.{quoted(name)} AS old_{name}" for name in (history.columns if history else ())]
    act = f"CASE WHEN t.{first} IS NULL THEN 'insert' WHEN f.{first} IS NULL THEN 'delete' ELSE 'update' END"
    differs = [f"t.{first} IS NULL", f"f.{first} IS NULL"]
    if data:
        old, new = (", ".join(f"{side}.{quoted(name)}" for name in data) for side in "tf")
        differs.append(f"({old}) IS DISTINCT FROM ({new})")
    return (
        f"SELECT {', '.join(columns)}, {act} AS act FROM ({compiled(rows)}) f {joined} t ON {_equal('t', 'f', key)}"
        f" WHERE {' OR '.join(differs)}"
    )


def _kept(history: History) -> str:
    """Compose what keeps the changes of the watched columns."""
    moved = " UNION ALL ".join(
        f"SELECT user_id, '{name}' AS field, old_{name}::text AS old, {quoted(name)}::text AS new FROM {_DIFFERING}"
        f" WHERE act <> 'delete' AND old_{name} IS DISTINCT FROM {quoted(name)}"
        for name in history.columns
    )
    return (
        f"INSERT INTO {quoted(history.table.name)} (user_id, field, old, new, as_of, cause)"
        f" SELECT user_id, m.field, m.old, m.new, DATE '{history.as_of:%Y-%m-%d}',"
        f" COALESCE(k.cause, '{history.causes.otherwise}')"
        f" FROM ({moved}) m LEFT JOIN {quoted(history.causes.known)} k USING (user_id)"
    )


def _equal(one: str, other: str, columns: Sequence[str]) -> str:
    return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in columns)
