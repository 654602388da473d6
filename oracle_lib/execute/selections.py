"""Many actions named by what they have in common: looked at first, then answered exactly as they were seen, or not.

Looking gives every action that is meant with its version and the hash of its words, and a digest of them all. The
answer names the filter and that digest. The actions are held, the filter is asked once more, and unless the digest is
the same nothing moves: what came in, went away or was edited since nobody has seen. All of them move, or none.
Guarantee G5: `tests/unit/test_selections.py`.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Conflict, Invalid
from oracle_lib.execute import moves, records
from oracle_lib.execute.moves import Plan, Seen
from oracle_lib.execute.records import Action, Filter
from oracle_lib.storage.tables import actions

MOST = 1_000


@dataclass(frozen=True)
class Item:
    """One action as it was seen."""

    id: UUID
    version: int
    content_hash: str


@dataclass(frozen=True)
class Selection:
    """The actions that are meant, in the order of their ids."""

    items: Sequence[Item]

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.items)

    @property
    def digest(self) -> str:
        """What these actions are told by, in these versions with these words: SHA-256 in hex."""
        lines = (f"{one.id} {one.version} {one.content_hash}\n" for one in self.items)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def look(conn: Connection, which: Filter) -> Selection:
    """Return what is meant now. Raises `Invalid` where that is more than can be answered at once."""
    asked = sa.select(actions.c.id, actions.c.version, actions.c.content_hash).where(*records.matching(which))
    rows = conn.execute(asked.order_by(actions.c.id).limit(MOST + 1)).all()
    if len(rows) > MOST:
        raise Invalid(f"More than {MOST} actions are meant; name more of what they have in common.", code="too_many")
    return Selection([Item(*row) for row in rows])


def answer(
    conn: Connection,
    which: Filter,
    digest: str,
    plan: Callable[[Collection[UUID]], Plan],
    *,
    actor: str,
    now: datetime,
) -> int:
    """Move all that is meant if it is what was seen under `digest`; return how many. `plan` is given their ids.

    Raises `Conflict` with what is meant now, or with the first that may not move; then nothing may be committed.
    """
    records.hold(conn, [one.id for one in look(conn, which).items])
    stands = look(conn, which)
    if stands.digest != digest:
        raise Conflict(
            f"Not what was seen: {stands.count} actions are meant now. Look at them again.", current=_wire(stands)
        )
    asked = {one.id: Seen(one.version, one.content_hash) for one in stands.items}
    if not asked:
        return 0
    for became in moves.make(conn, asked, plan(list(asked)), actor=actor, now=now).values():
        if not isinstance(became, Action):
            raise became
    return stands.count


def _wire(stands: Selection) -> dict[str, object]:
    items = [{"id": str(one.id), "version": one.version, "contentHash": one.content_hash} for one in stands.items]
    return {"count": stands.count, "digest": stands.digest, "items": items}
