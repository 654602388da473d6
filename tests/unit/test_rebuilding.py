"""The weekly comparison with a rebuild finds nothing where nothing is wrong, and every row that is."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from oracle_lib.analyze import rebuilding
from oracle_lib.analyze.rebuilding import RebuildReport
from oracle_lib.storage import tables
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from tests import world
from tests.conftest import NOW, fresh_database

TODAY = NOW.date()
TABLES = ("user_days", "user_day_events", "user_lessons", "activity", "habits", "segments")
SPOILED = {
    "user_days": "UPDATE user_days SET quiz_pass = quiz_pass + 1 WHERE (user_id, day) IN"
    " (SELECT user_id, day FROM user_days WHERE day > DATE '2026-02-28' LIMIT 2)",
    "user_day_events": "INSERT INTO user_day_events VALUES ('u1', DATE '2026-03-03', 'never_sent', 3)",
    "user_lessons": "DELETE FROM user_lessons WHERE (user_id, day) IN"
    " (SELECT user_id, day FROM user_lessons WHERE day > DATE '2026-02-28' LIMIT 1)",
    "activity": "UPDATE activity SET acted_30d = acted_30d + 1 WHERE user_id IN ('u1', 'u2')",
    "habits": "DELETE FROM habits WHERE user_id = 'u1'",
    "segments": "UPDATE segments SET lifecycle = 'alumni' WHERE user_id = 'u1'",
}


@pytest.fixture(scope="module")
def weeks(server: EmbeddedServer) -> Iterator[str]:
    """The database of some weeks of events that came in parts, worked out day by day; nobody is connected to it."""
    bodies = list(world.events(3000, users=60, until=NOW, days=100, seed=5))
    with fresh_database(server) as url:
        store = Store(url)
        for day in range(3):
            with store.transaction() as conn:
                world.post(conn, bodies[day::3], NOW)
                world.run_stages(conn, TODAY - timedelta(days=2 - day))
        store.close()
        yield str(sa.make_url(url).database)


@pytest.fixture
def lived(server: EmbeddedServer, weeks: str) -> Iterator[Store]:
    """A copy of the same weeks."""
    copy = f"{weeks}_copy"
    store = Store(server.ensure_database(copy, template=weeks))
    yield store
    store.close()
    server.drop_database(copy)


def compare(store: Store) -> RebuildReport:
    with store.transaction() as conn:
        return rebuilding.compare(conn, TODAY, settings=world.SETTINGS)


def test_nothing_differs_where_nothing_is_wrong(lived: Store) -> None:
    report = compare(lived)
    assert report.equal
    assert report.different == dict.fromkeys(TABLES, 0)
    assert report.as_of == TODAY


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_is_wrong_is_found(lived: Store, table: str) -> None:
    with lived.transaction() as conn:
        spoiled = conn.execute(sa.text(SPOILED[table])).rowcount
    report = compare(lived)
    assert not report.equal
    assert report.different[table] >= spoiled > 0


def test_users_who_wait_are_not_counted_as_wrong(lived: Store) -> None:
    with lived.transaction() as conn:
        world.post(conn, [world.event("u1", "quiz_pass", NOW), world.event("new", "login", NOW)], NOW)
        assert conn.scalar(sa.select(sa.func.count()).select_from(tables.dirty_user_days)) == 2
    assert compare(lived).equal


def test_before_the_first_run_there_is_nothing_to_compare(store: Store) -> None:
    assert compare(store).equal
