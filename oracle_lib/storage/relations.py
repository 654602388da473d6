"""Stored tables as Ibis relations, so that a stage can be written once and compiled to any engine."""

from functools import cache

import ibis
import ibis.expr.datatypes as dt
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


@cache
def relation(table: sa.Table) -> ibis.Table:
    """Return the unbound Ibis table with the columns and types of a stored one. Unqualified: search_path finds it."""
    return ibis.table({column.name: _type(column) for column in table.columns}, name=table.name)


def scratch(name: str, columns: dict[str, str]) -> ibis.Table:
    """Return the relation of a temporary table that a stage makes for the time of its transaction."""
    return ibis.table(columns, name=name)


def _type(column: sa.Column) -> dt.DataType:
    kind = column.type
    match kind:
        case sa.Uuid():
            found: dt.DataType = dt.UUID()
        case pg.JSONB():
            found = dt.JSON(binary=True)
        case pg.ARRAY():
            found = dt.Array(dt.String())
        case sa.DateTime():
            found = dt.Timestamp(timezone="UTC")
        case sa.Date():
            found = dt.Date()
        case sa.Float():
            found = dt.Float64()
        case sa.Numeric():
            found = dt.Decimal(kind.precision, kind.scale)
        case sa.BigInteger():
            found = dt.Int64()
        case sa.Integer():
            found = dt.Int32()
        case sa.Boolean():
            found = dt.Boolean()
        case sa.LargeBinary():
            found = dt.Binary()
        case _:
            found = dt.String()
    return found(nullable=bool(column.nullable))
