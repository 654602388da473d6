"""The jobs: two over assets, three small ones over rows that wait.

`react`, `execute` and `maintenance` are ops: they answer for no partition. Every job runs in one process: a chain of
small stages takes 0.7 s there and 9.4 s with a process a step.
"""

from datetime import timedelta

import dagster as dg

from oracle_lib import clock, settings, stages
from oracle_pipelines import checks, present, resources
from oracle_pipelines.failures import told
from oracle_pipelines.resources import Database

# At most one run of a lane at a time, enforced by the queue (dagster.yaml).
LANE = "oracle/lane"
WEEKLY_CHECKS = dg.AssetSelection.checks(checks.equals_rebuild)
_PRUNED_AT_ONCE = 500

daily = dg.define_asset_job(
    "daily",
    selection=(
        dg.AssetSelection.groups("observe", "decide", "execute")
        | dg.AssetSelection.assets("segments", "predictions", "outcomes", "experiments")
    )
    - WEEKLY_CHECKS,
    tags={LANE: "daily"},
    description="Everything a closed day needs: count, classify, predict, check, propose, send, learn, retain.",
)

weekly = dg.define_asset_job(
    "weekly",
    selection=dg.AssetSelection.assets("models", "insights", "ceo_report") | WEEKLY_CHECKS,
    tags={LANE: "weekly"},
    description="Everything a whole week needs: retrain and promote, insights, the report.",
)


@dg.op(description="The stages, for the users whom fresh events touch.")
@told
def react_to_events(context: dg.OpExecutionContext, database: Database) -> None:
    """Run each stage of `stages.react` and keep its figures."""
    for name, step in stages.react(database.store, clock.now(), settings.get()):
        figures = present.figures(step(), detailed=False)
        context.log.info("%s: %s", name, {key: value.value for key, value in figures.items()})
        context.add_output_metadata({f"{name}_{key}": value for key, value in figures.items()})


@dg.op(description="Claim what is approved and due, check it again, send it, write down what became of it.")
@told
def send_what_is_due(context: dg.OpExecutionContext, database: Database) -> None:
    """Send everything that is due."""
    report = stages.deliver(database.store, settings.get(), resources.owner(context.run_id))
    context.add_output_metadata(present.figures(report, detailed=False))


@dg.op(description="Delete Dagster's records of runs that ended long ago; what the assets made stays.")
@told
def prune_run_log(context: dg.OpExecutionContext) -> None:
    """Delete old finished runs with their events, some hundred at a time."""
    before = clock.now() - timedelta(days=settings.get().run_log_days)
    old = context.instance.get_run_records(
        dg.RunsFilter(
            created_before=before,
            statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        ),
        limit=_PRUNED_AT_ONCE,
        ascending=True,
    )
    for record in old:
        context.instance.delete_run(record.dagster_run.run_id)
    context.add_output_metadata({"deleted_runs": len(old), "before": before.isoformat()})


@dg.job(tags={LANE: "react"}, executor_def=dg.in_process_executor)
def react() -> None:
    """Answer fresh events within seconds: the daily stages for the users they touch."""
    react_to_events()


@dg.job(tags={LANE: "execute"}, executor_def=dg.in_process_executor)
def execute() -> None:
    """Send what is approved and due."""
    send_what_is_due()


@dg.job(tags={LANE: "maintenance"}, executor_def=dg.in_process_executor)
def maintenance() -> None:
    """Keep Dagster's own log small."""
    prune_run_log()


JOBS = [daily, weekly, react, execute, maintenance]
