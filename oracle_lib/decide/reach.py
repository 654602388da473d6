"""How many users a condition tree holds for, and each of its parts: what the builder shows beside every row."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from oracle_lib.decide import conditions, matching
from oracle_lib.decide.conditions import Condition
from oracle_lib.storage import queue
from oracle_lib.storage.publish import compiled, run, scanning


@dataclass(frozen=True)
class NodeReach:
    """One part of a tree, by its place such as `conditions.all[1]`, and the users it holds for."""

    place: str
    users: int


@dataclass(frozen=True)
class Reach:
    """All users, and for how many of them each part holds; the whole tree comes first."""

    users: int
    nodes: tuple[NodeReach, ...]


def reach(conn: Connection, condition: Condition, as_of: date) -> Reach:
    """Count for every part of a tree the users it holds for, as they stand on `as_of`, in one scan."""
    parts = conditions.nodes(condition)
    columns = {f"node_{number}": part for number, (_, part) in enumerate(parts)}
    judged = matching.judged(columns, as_of, standing=queue.is_standing(conn, "activity", as_of))
    counts = judged.aggregate(users=judged.count(), **{name: judged.count(where=judged[name]) for name in columns})
    with scanning(conn):
        row = run(conn, compiled(counts)).mappings().one()
    return Reach(
        users=row["users"],
        nodes=tuple(NodeReach(place, row[column]) for column, (place, _) in zip(columns, parts, strict=True)),
    )
