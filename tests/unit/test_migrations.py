"""The migrations build exactly the tables that `storage/tables` states, and applying them twice changes nothing."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from oracle_lib.decide import rules_engine
from oracle_lib.storage import migrate
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import SCHEMA, Store, psycopg_url
from oracle_lib.storage.tables import metadata
from oracle_lib.storage.tables.actions import LEGAL_MOVES


def test_migrated_tables_are_the_stated_tables(database_url: str) -> None:
    def ours(name: str | None, kind: str, _: object) -> bool:
        return name == SCHEMA if kind == "schema" else kind != "table" or f"{SCHEMA}.{name}" in metadata.tables

    options = {"include_schemas": True, "include_name": ours, "version_table_schema": SCHEMA}
    # Not through Store: with our schema as the default one, Alembic would look for tables without a schema.
    engine = sa.create_engine(psycopg_url(database_url))
    with engine.connect() as conn:
        assert compare_metadata(MigrationContext.configure(conn, opts=options), metadata) == []
    engine.dispose()


def test_migrating_again_changes_nothing(conn: Connection) -> None:
    before = migrate.revision(conn)
    assert migrate.migrate(conn) == before == migrate.head()


def test_the_database_knows_the_same_moves_as_the_library(conn: Connection) -> None:
    source = conn.exec_driver_sql("SELECT prosrc FROM pg_proc WHERE proname = 'refuse_illegal_move'").scalar_one()
    for old, targets in LEGAL_MOVES.items():
        for new in LEGAL_MOVES:
            assert (f"'{old}>{new}'" in source) == (new in targets), f"{old} > {new}"


def test_two_processes_that_want_the_same_database_at_once_both_have_it(server: EmbeddedServer) -> None:
    names = [f"wanted_{os.getpid()}_{number}" for number in range(5)]
    with ThreadPoolExecutor(4) as pool:
        for name in names:
            assert set(pool.map(server.ensure_database, [name] * 4)) == {server.url(name)}
            server.drop_database(name)


def test_who_published_before_it_was_kept_beside_the_version_is_taken_over(server: EmbeddedServer) -> None:
    name = f"before_0008_{os.getpid()}"
    store = Store(server.ensure_database(name))
    with store.transaction() as conn:
        conn.exec_driver_sql("CREATE SCHEMA oracle")
        command.upgrade(migrate.config(conn), "0007")
        rule_id = conn.exec_driver_sql(
            "INSERT INTO rules (name, trigger, conditions, action_type, action_data)"
            " VALUES ('old', 'time_based', '{}', 'dm', '{}') RETURNING id"
        ).scalar_one()
        conn.exec_driver_sql(
            f"INSERT INTO rule_versions (rule_id, version, definition) SELECT '{rule_id}', v, '{{}}' FROM"
            " generate_series(1, 3) v; INSERT INTO audit_log (actor, verb, subject, detail) VALUES"
            f" ('anna', 'rule.published', 'rule:{rule_id}', '{{\"version\": 1}}'),"
            f" ('bea', 'rule.published', 'rule:{rule_id}', '{{\"version\": 3}}')"
        )
        command.upgrade(migrate.config(conn), "0008")
        kept = conn.exec_driver_sql("SELECT version, published_by FROM rule_versions ORDER BY version").all()
    store.close()
    server.drop_database(name)
    assert kept == [(1, "anna"), (2, None), (3, "bea")]


def test_rules_published_before_experiments_hold_nobody_out_and_go_on(server: EmbeddedServer, now: datetime) -> None:
    store = Store(server.ensure_database("before_experiments"))
    said = {
        "name": "back",
        "trigger": "event_based",
        "conditions": {"event": "login"},
        "actionType": "dm",
        "actionData": {"content": "Hi"},
    }
    with store.transaction() as conn:
        conn.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        command.upgrade(migrate.config(conn), "0007")
        columns = "name, trigger, conditions, action_type, action_data"
        rule_id = conn.execute(
            sa.text(f"INSERT INTO rules ({columns}) VALUES ('back', 'event_based', '{{}}', 'dm', '{{}}') RETURNING id")
        ).scalar_one()
        kept = sa.text("INSERT INTO rule_versions (rule_id, version, definition) VALUES (:id, 1, CAST(:said AS jsonb))")
        conn.execute(kept, {"id": rule_id, "said": json.dumps(said)})
        migrate.migrate(conn)
        [rule] = rules_engine.active(conn, ["event_based"], now)
        assert (rule.definition.holdout, rule.definition.shares) == (0, {"a": 100})
    store.close()
    server.drop_database("before_experiments")
