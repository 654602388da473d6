"""G3, test E3: however commits interleave, no event is overlooked by what is counted from it.

Eight writers commit after random delays, so that a later id is often visible before an earlier one. The stage takes its
work from the dirty queue and misses nothing; the control remembers the last id it saw, as readers commonly do, and
misses some. Halfway everything is dumped and restored into a fresh cluster, where transaction ids begin anew.
"""

import random
import subprocess
import threading
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.observe import activity
from oracle_lib.storage import tables
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from tests import world
from tests.conftest import FULL, NOW

WRITERS = 8
SECONDS = 60 if FULL else 4


class Cursor:
    """The control: reads what has a greater id than the last it saw."""

    def __init__(self) -> None:
        self.last, self.seen = 0, 0

    def read(self, conn: Connection) -> None:
        """Read on."""
        rows = conn.execute(sa.text("SELECT id FROM control WHERE id > :last ORDER BY id"), {"last": self.last})
        for (number,) in rows:
            self.last, self.seen = number, self.seen + 1


def write(store: Store, stop: threading.Event, seed: int) -> None:
    """Store one event a transaction, each commit some milliseconds late."""
    rnd = random.Random(seed)
    number = 0
    while not stop.is_set():
        number += 1
        with store.transaction() as conn:
            body = world.event(f"u{rnd.randrange(50)}", "login", NOW, messageId=f"{seed}-{number}")
            world.post(conn, [body], NOW)
            conn.execute(sa.text("INSERT INTO control DEFAULT VALUES"))
            time.sleep(rnd.uniform(0, 0.03))


def run(store: Store, cursor: Cursor, seconds: float, seed: int) -> None:
    """Write and read at once for so long, then read what is left."""
    stop = threading.Event()
    writers = [threading.Thread(target=write, args=(store, stop, seed + place)) for place in range(WRITERS)]
    for writer in writers:
        writer.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for read in (activity.rollup, cursor.read):
            with store.transaction() as conn:
                read(conn)
        time.sleep(0.01)
    stop.set()
    for writer in writers:
        writer.join()
    with store.transaction() as conn:
        activity.rollup(conn)
        cursor.read(conn)


def missed(store: Store, cursor: Cursor) -> tuple[int, int]:
    """Events that the counts lack, and rows that the control never saw."""
    with store.transaction() as conn:
        stored = conn.scalar(sa.select(sa.func.count()).select_from(tables.events)) or 0
        counted = conn.scalar(sa.select(sa.func.sum(tables.user_days.c.events))) or 0
        written = conn.scalar(sa.text("SELECT count(*) FROM control")) or 0
    assert stored > 50
    return stored - counted, written - cursor.seen


def moved(server: EmbeddedServer, source: Store, target: EmbeddedServer) -> Store:
    """Dump a database and restore it into another cluster."""
    made = Store(target.ensure_database("restored"), pool_size=WRITERS + 2)
    dumped = subprocess.run([server.binary("pg_dump"), source.url], check=True, capture_output=True).stdout
    psql = [str(target.binary("psql")), "--quiet", "--set", "ON_ERROR_STOP=1", made.url]
    subprocess.run(psql, input=dumped, check=True, capture_output=True)
    return made


def test_the_dirty_queue_misses_nothing_where_a_cursor_does_also_across_dump_and_restore(
    server: EmbeddedServer, database_url: str, home: Path
) -> None:
    store, cursor = Store(database_url, pool_size=WRITERS + 2), Cursor()
    with store.transaction() as conn:
        conn.exec_driver_sql("CREATE TABLE control (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
    run(store, cursor, SECONDS, seed=100)
    fresh = EmbeddedServer(home)
    fresh.start()
    try:
        restored = moved(server, store, fresh)
        store.close()
        run(restored, cursor, SECONDS, seed=200)
        by_queue, by_cursor = missed(restored, cursor)
        restored.close()
    finally:
        fresh.stop("immediate")
    assert by_queue == 0
    assert by_cursor > 0
