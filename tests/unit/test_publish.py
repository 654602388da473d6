"""Only what changed is written, what should not stand goes, and every watched change is kept with its day."""

import threading
from datetime import date

import ibis
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage import tables
from oracle_lib.storage.engine import Store
from oracle_lib.storage.publish import Causes, History, Published, Scope, added, compiled, merge, publish, run
from oracle_lib.storage.relations import scratch

DAY = date(2026, 3, 4)


def people(**levels: str) -> ibis.Table:
    """Rows for `segments` from a literal table."""
    parts = [
        scratch("one", {"n": "int32"}).select(user_id=ibis.literal(user), engagement_level=ibis.literal(level))
        for user, level in levels.items()
    ]
    return ibis.union(*parts) if len(parts) > 1 else parts[0]


@pytest.fixture
def one(conn: Connection) -> Connection:
    """A connection with a table of a single row, to hang literals on, and one of causes."""
    make_tables(conn)
    return conn


def make_tables(conn: Connection) -> None:
    conn.exec_driver_sql("CREATE TEMPORARY TABLE one ON COMMIT DROP AS SELECT 1 AS n")
    conn.exec_driver_sql("CREATE TEMPORARY TABLE news ON COMMIT DROP AS SELECT 'a' AS user_id, 'profile' AS cause")


def put(conn: Connection, rows: ibis.Table, *, scope: Scope | None = None) -> Published:
    history = History(tables.segment_changes, ("engagement_level",), DAY, Causes("news", "time"))
    return publish(conn, tables.segments, rows, key=("user_id",), scope=scope, history=history)


def test_equal_rows_are_not_touched(one: Connection) -> None:
    assert put(one, people(a="new", b="active")) == Published(inserted=2, updated=0, deleted=0)
    before = one.execute(sa.text("SELECT user_id, xmin, ctid FROM segments ORDER BY 1")).all()
    assert put(one, people(a="new", b="active")) == Published(inserted=0, updated=0, deleted=0)
    assert one.execute(sa.text("SELECT user_id, xmin, ctid FROM segments ORDER BY 1")).all() == before


def test_changes_are_kept_with_old_and_new(one: Connection) -> None:
    put(one, people(a="new", b="active"))
    put(one, people(a="dormant", b="active"))
    changes = one.execute(sa.select(tables.segment_changes).order_by(tables.segment_changes.c.id)).all()
    assert [(row.user_id, row.old, row.new) for row in changes][2:] == [("a", "new", "dormant")]
    assert {(row.user_id, row.old) for row in changes[:2]} == {("a", None), ("b", None)}
    assert {row.as_of for row in changes} == {DAY}
    assert {(row.user_id, row.cause) for row in changes} == {("a", "profile"), ("b", "time")}


def test_rows_of_the_scope_that_should_not_stand_go_and_others_stay(one: Connection) -> None:
    put(one, people(a="new", b="active", c="lost"))
    one.exec_driver_sql("CREATE TEMPORARY TABLE asked AS SELECT unnest(ARRAY['a', 'b']) AS user_id")
    assert put(one, people(a="new"), scope=Scope("asked")) == Published(inserted=0, updated=0, deleted=1)
    assert set(one.execute(sa.select(tables.segments.c.user_id)).scalars()) == {"a", "c"}


def test_what_is_merged_is_added_to_rows_that_stand_and_to_no_others(one: Connection) -> None:
    for user in ("a", "b"):
        one.execute(sa.insert(tables.habits).values(user_id=user, mornings=2, evenings=1))
    before = one.execute(sa.text("SELECT xmin, ctid FROM habits WHERE user_id = 'b'")).one()
    gains = [
        scratch("one", {"n": "int32"}).select(
            user_id=ibis.literal(user), mornings=ibis.literal(3), visual=ibis.literal(1)
        )
        for user in ("a", "not there")
    ]
    assert merge(one, tables.habits, ibis.union(*gains), key="user_id") == 1
    columns = [tables.habits.c[name] for name in ("user_id", "mornings", "evenings", "visual")]
    found = one.execute(sa.select(*columns).order_by(columns[0])).all()
    assert found == [("a", 5, 1, 1), ("b", 2, 1, 0)]
    assert one.execute(sa.text("SELECT xmin, ctid FROM habits WHERE user_id = 'b'")).one() == before


def test_what_becomes_of_a_column_can_be_said(one: Connection) -> None:
    one.execute(sa.insert(tables.habits).values(user_id="a", mornings=2, evenings=1))
    gain = scratch("one", {"n": "int32"}).select(
        user_id=ibis.literal("a"), mornings=ibis.literal(3), evenings=ibis.literal(3)
    )
    larger = {"mornings": "greatest(t.mornings, m.mornings)"}
    merge(one, tables.habits, gain, key="user_id", becomes=lambda name: larger.get(name) or added(name))
    assert one.execute(sa.select(tables.habits.c.mornings, tables.habits.c.evenings)).one() == (3, 4)


@pytest.mark.parametrize("hostile", ["'); DROP TABLE segments; --", "100% %s :name {x}", "a\\'b", "☃ \U0001f600"])
def test_values_are_data_however_hostile(one: Connection, hostile: str) -> None:
    put(one, people(**{hostile: "new"}))
    assert one.execute(sa.select(tables.segments.c.user_id)).scalars().all() == [hostile]
    found = run(one, compiled(scratch("one", {"n": "int32"}).select(x=ibis.literal(hostile)))).scalar_one()
    assert found == hostile


def test_concurrent_publishers_of_one_table_wait_for_each_other(store: Store) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                with store.transaction() as conn:
                    make_tables(conn)
                    put(conn, people(a="new", b="active", c="lost"))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
