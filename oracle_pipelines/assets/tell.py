"""What people read: the week's report."""

import dagster as dg

from oracle_lib import clock, settings, stages
from oracle_lib.storage import tables
from oracle_pipelines import present
from oracle_pipelines.assets.learn import insights, outcomes
from oracle_pipelines.failures import told
from oracle_pipelines.partitions import weekly_asset, weeks_of
from oracle_pipelines.resources import Database


@weekly_asset(group_name="tell", deps=[insights, outcomes, "segments"], metadata=present.columns(tables.reports))
@told
def ceo_report(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """The week in figures, each with its change against the week before, and the words around them."""
    reports = [stages.report(database.store, week, settings.get()) for week in weeks_of(context, clock.now())]
    return dg.MaterializeResult(metadata=present.document(reports))
