"""Real history through the same door as the API: in order, resumable at the row, never twice.

A history is known by the hash of its content. Some thousand rows, the import's place in it, its counts and the baseline
of the users it touched are one transaction: killed anywhere, the next call goes on with the first row that is not in.
Users' baseline is the time of the import, so that no rule answers what happened years ago. Tests:
`tests/unit/test_importing.py`.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.clock import DAY
from oracle_lib.errors import Conflict
from oracle_lib.observe.batch import Door, IngestReport
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import imports, users

ROWS_A_TRANSACTION = 4_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class History:
    """Events to import. `bodies` yields the same `rows` wire bodies in the same order every time.

    `sha256` is of everything they are made from. `left_out` says what the files hold that became no event, and why.
    """

    kind: str
    name: str
    sha256: bytes
    rows: int
    bodies: Callable[[], Iterator[bytes]]
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportReport:
    """What a history brought, over all calls that it took; `added` is what this call added to it.

    accepted + duplicate + the sum of `rejected` (by reason) = `rows`. Days are UTC; None where nothing was accepted.
    `retention` says in a sentence what happens to history older than raw events are kept.
    """

    kind: str
    name: str
    rows: int
    accepted: int
    duplicate: int
    rejected: dict[str, int]
    first_day: date | None
    last_day: date | None
    added: int
    left_out: dict[str, int]
    retention: str


def take_in(
    store: Store, history: History, *, settings: Settings, now: datetime, progress: Progress | None = None
) -> ImportReport:
    """Import what of `history` is not in yet. Commits every few thousand rows; `progress` gets rows done and total.

    Raises `Conflict` when another process imports the same content at this moment: nothing is lost, one goes on.
    """
    # Another currency judges the same rows differently: it is another import, and ids keep what is in single.
    key = hashlib.sha256(f"{history.kind} {settings.currency} ".encode() + history.sha256).digest()
    with store.transaction() as conn:
        begun = {"kind": history.kind, "name": history.name, "content_sha256": key, "started_at": now}
        conn.execute(insert(imports).values(begun).on_conflict_do_nothing())
        place: int = conn.execute(sa.select(imports.c.rows_done).where(imports.c.content_sha256 == key)).scalar_one()
    door = Door(source=f"import:{history.name}"[:200], limits=Limits(settings.currency, late=None), imported=True)
    added = 0
    rest = islice(history.bodies(), place, None)
    while bodies := list(islice(rest, ROWS_A_TRANSACTION)):
        with store.transaction() as conn:
            report = _take_batch(conn, key, place, bodies, door=door, now=now)
        place += len(bodies)
        added += report.accepted
        if progress is not None:
            progress(place, history.rows)
    with store.transaction() as conn:
        return _finish(conn, key, history, added=added, settings=settings, now=now)


def _take_batch(
    conn: Connection, key: bytes, place: int, bodies: list[bytes], *, door: Door, now: datetime
) -> IngestReport:
    """Store one batch and move the import's place past it, together or not at all."""
    row = conn.execute(sa.select(imports).where(imports.c.content_sha256 == key).with_for_update()).one()
    if row.rows_done != place:
        raise Conflict(
            f"{row.name} is being imported by another process; wait for it, or stop it and call again.",
            current={"rowsDone": row.rows_done},
        )
    report = ingest(conn, bodies, door=door, received_at=now)
    _set_baseline(conn, report.users, now)
    days = sorted(report.days)
    conn.execute(
        sa.update(imports)
        .where(imports.c.content_sha256 == key)
        .values(
            rows_done=place + len(bodies),
            accepted=row.accepted + report.accepted,
            duplicate=row.duplicate + report.duplicate,
            rejected=Counter(row.rejected) + Counter(one.code for one in report.rejected),
            first_day=min([*days[:1], *([row.first_day] if row.first_day else [])], default=None),
            last_day=max([*days[-1:], *([row.last_day] if row.last_day else [])], default=None),
        )
    )
    return report


def _set_baseline(conn: Connection, user_ids: frozenset[str], now: datetime) -> None:
    """Let rules fire for these users only on what happens from now on; a later baseline stays."""
    touched = sa.any_(sa.bindparam("ids", sorted(user_ids), type_=sa.ARRAY(sa.Text)))
    earlier = users.c.baseline_at.is_(None) | (users.c.baseline_at < now)
    conn.execute(sa.update(users).where(users.c.id == touched, earlier).values(baseline_at=now))


def _finish(
    conn: Connection, key: bytes, history: History, *, added: int, settings: Settings, now: datetime
) -> ImportReport:
    mine = imports.c.content_sha256 == key
    conn.execute(sa.update(imports).where(mine, imports.c.finished_at.is_(None)).values(finished_at=now))
    row = conn.execute(sa.select(imports).where(mine)).one()
    return ImportReport(
        kind=history.kind,
        name=history.name,
        rows=history.rows,
        accepted=row.accepted,
        duplicate=row.duplicate,
        rejected=row.rejected,
        first_day=row.first_day,
        last_day=row.last_day,
        added=added,
        left_out=history.left_out,
        retention=_retention(row.first_day, settings.retention_days, now.date()),
    )


def _retention(first_day: date | None, kept_days: int | None, today: date) -> str:
    if kept_days is None:
        return "Raw events are kept for ever."
    limit = today - kept_days * DAY
    if first_day is None or first_day >= limit:
        return f"All of it lies within the {kept_days} days for which raw events are kept."
    return (
        f"Raw events are kept for {kept_days} days: those before {limit} are dropped by the next daily run after they"
        " are counted. Their daily counts stay; more events for those days will be refused then."
    )
