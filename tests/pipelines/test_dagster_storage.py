"""Dagster on our PostgreSQL: with the root dagster.yaml, over a socket, in the form its driver needs."""

import select
import shutil
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from oracle_lib.storage.engine import Store, psycopg2_url

ROOT = Path(__file__).parents[2]


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job(executor_def=dg.in_process_executor)
def small() -> None:
    """One step."""
    nothing()


def test_both_forms_of_the_address_connect(database_url: str) -> None:
    store = Store(database_url)
    with store.transaction() as conn:
        assert conn.scalar(sa.text("SELECT 1")) == 1
        assert conn.dialect.driver == "psycopg"
    store.close()
    engine = sa.create_engine(psycopg2_url(database_url))
    with engine.connect() as conn:
        assert conn.scalar(sa.text("SELECT 1")) == 1
        assert conn.dialect.driver == "psycopg2"
    engine.dispose()


def test_a_run_is_kept_with_its_events_under_the_root_dagster_yaml(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A migrated template has our tables too; Dagster's stand beside them without touching them.
    monkeypatch.setenv("ORACLE_DAGSTER_DATABASE_URL", psycopg2_url(database_url))
    shutil.copyfile(ROOT / "dagster.yaml", tmp_path / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        result = small.execute_in_process(instance=instance)
        assert result.success
        kept = instance.get_run_by_id(result.run_id)
        assert kept is not None
        assert kept.status is dg.DagsterRunStatus.SUCCESS
        assert len(instance.all_logs(result.run_id)) > 5
        assert instance.get_settings("telemetry")["enabled"] is False
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert instance.get_settings("run_retries")["retry_on_asset_or_op_failure"] is False
        assert instance.get_concurrency_config().run_queue_config is not None


def test_a_notification_reaches_a_listener(database_url: str) -> None:
    engine = sa.create_engine(psycopg2_url(database_url), isolation_level="AUTOCOMMIT")
    with engine.connect() as listener, engine.connect() as sender:
        listener.exec_driver_sql("LISTEN run_events")
        sender.execute(sa.text("NOTIFY run_events, :what"), {"what": "run_1"})
        raw = listener.connection.driver_connection
        select.select([raw], [], [], 10.0)
        raw.poll()
        assert [note.payload for note in raw.notifies] == ["run_1"]
    engine.dispose()
