"""Everything Dagster loads, held by a snapshot: none of it can change silently."""

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from syrupy.assertion import SnapshotAssertion

from oracle_pipelines.definitions import defs

ROOT = Path(__file__).parents[2]


def _graph() -> BaseAssetGraph:
    return defs.resolve_asset_graph()


def test_the_code_location_loads_in_a_fresh_interpreter_without_a_database_and_without_warnings() -> None:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import oracle_pipelines.definitions"],
        cwd="/",
        env={"ORACLE_DATABASE_URL": "postgresql://nobody@192.0.2.1/none", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 30


def test_every_asset_is_as_the_snapshot_says(snapshot: SnapshotAssertion) -> None:
    graph = _graph()
    shown = {}
    for key in sorted(graph.executable_asset_keys):
        node = graph.get(key)
        shown[key.to_user_string()] = {
            "group": node.group_name,
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "partitions": type(node.partitions_def).__name__,
            "backfill": str(node.backfill_policy),
            "kinds": sorted(node.kinds),
            "owners": list(node.owners),
            "checks": sorted(check.name for check in node.check_keys),
            "says": node.description,
        }
    assert shown == snapshot


def test_every_asset_has_a_sentence_an_owner_a_kind_and_a_column_schema() -> None:
    graph = _graph()
    for key in graph.executable_asset_keys:
        node = graph.get(key)
        assert node.description
        assert node.description.endswith(".")
        assert node.owners == ["team:oracle"]
        assert "postgres" in node.kinds
        assert "dagster/column_schema" in node.metadata


def test_every_job_schedule_and_sensor_is_as_the_snapshot_says(snapshot: SnapshotAssertion) -> None:
    repository = defs.get_repository_def()
    jobs = {
        job.name: {
            "nodes": sorted(node.name for node in job.nodes),
            "tags": dict(job.tags),
            "executor": job.executor_def.name,
        }
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    }
    schedules = {
        one.name: {
            "cron": one.cron_schedule,
            "zone": one.execution_timezone,
            "job": one.job_name,
            "status": one.default_status.value,
        }
        for one in repository.schedule_defs
    }
    sensors = {
        one.name: {
            "seconds": one.minimum_interval_seconds,
            "jobs": sorted(target.job_name for target in one.targets),
            "status": one.default_status.value,
        }
        for one in repository.sensor_defs
    }
    assert {"jobs": jobs, "schedules": schedules, "sensors": sensors} == snapshot


@pytest.mark.parametrize("job", ["daily", "weekly", "react", "execute", "maintenance"])
def test_each_job_runs_in_one_process(job: str) -> None:
    assert defs.resolve_job_def(job).executor_def.name == "in_process"


def test_the_gate_blocks_and_the_health_of_models_does_not() -> None:
    graph = _graph()
    checks = graph.get(dg.AssetKey("predictions")).check_keys
    blocking = {check.name for check in checks if graph.get_check_spec(check).blocking}
    assert blocking == {"feed_is_fresh", "days_are_counted", "segments_cover_users", "scores_are_in_range"}
    targets = ("churn", "completion", "upgrade", "referral")
    words = ("stable", "calibrated")
    assert {check.name for check in checks} - blocking == {f"{one}_is_{word}" for one in targets for word in words}


def test_the_comparison_with_a_rebuild_is_weekly() -> None:
    check = dg.AssetCheckKey(dg.AssetKey("segments"), "equals_rebuild")
    runs_in = {
        job: check in defs.resolve_job_def(job).asset_layer.asset_graph.asset_check_keys for job in ("daily", "weekly")
    }
    assert runs_in == {"daily": False, "weekly": True}


def test_partitions_reach_back_to_2012_and_a_week_starts_on_sunday() -> None:
    graph = _graph()
    daily = graph.get(dg.AssetKey("user_days")).partitions_def
    weekly = graph.get(dg.AssetKey("ceo_report")).partitions_def
    assert daily is not None
    assert weekly is not None
    assert daily.get_first_partition_key() == "2012-01-01"
    assert weekly.get_first_partition_key() == "2012-01-01"
    assert "2026-03-01" in weekly.get_partition_keys()


def test_workspace_yaml_names_the_code_location_the_demo_asks_for() -> None:
    text = (ROOT / "workspace.yaml").read_text()
    assert "module_name: oracle_pipelines.definitions" in text
    assert "location_name: oracle" in text
