"""Doing it: what is approved and due is sent."""

import dagster as dg

from oracle_lib import clock, settings, stages
from oracle_lib.storage import tables
from oracle_pipelines import present, resources
from oracle_pipelines.assets.decide import actions
from oracle_pipelines.failures import told
from oracle_pipelines.partitions import daily_asset, window_of
from oracle_pipelines.resources import Database


@daily_asset(group_name="execute", deps=[actions], metadata=present.columns(tables.messages))
@told
def deliveries(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """What was approved and due, sent once; an older day sends nothing."""
    if not window_of(context, clock.now()).is_current:
        return dg.MaterializeResult(metadata=present.figures(stages.OLDER))
    report = stages.deliver(database.store, settings.get(), resources.owner(context.run.run_id))
    return dg.MaterializeResult(metadata=present.figures(report))
