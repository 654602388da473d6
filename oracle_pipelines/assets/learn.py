"""Did it work: what came of each action, and what the week taught."""

import dagster as dg

from oracle_lib import clock, settings, stages
from oracle_lib.storage import tables
from oracle_pipelines import present
from oracle_pipelines.assets.execute import deliveries
from oracle_pipelines.failures import told
from oracle_pipelines.partitions import daily_asset, weekly_asset, weeks_of, window_of
from oracle_pipelines.resources import Database


@daily_asset(group_name="learn", deps=[deliveries, "events"], metadata=present.columns(tables.outcomes))
@told
def outcomes(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """Opened, clicked, replied, converted: the first of each that an action had."""
    window = window_of(context, clock.now())
    if not window.is_current:
        return dg.MaterializeResult(metadata=present.figures(stages.OLDER))
    return dg.MaterializeResult(metadata=present.figures(stages.attribute(database.store, window.now, settings.get())))


@daily_asset(group_name="learn", deps=[deliveries, "events"], metadata=present.columns(tables.assignments))
@told
def experiments(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """Which rules help: what the users of each arm did, against those who were held out."""
    window = window_of(context, clock.now())
    if not window.is_current:
        return dg.MaterializeResult(metadata=present.figures(stages.OLDER))
    return dg.MaterializeResult(metadata=present.figures(stages.measure(database.store, window.now, settings.get())))


@weekly_asset(group_name="learn", deps=[outcomes, "segments"], metadata=present.columns(tables.insights))
@told
def insights(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """What the week taught: observations, hypotheses and recommendations, each with its evidence."""
    reports = [stages.observe_week(database.store, week) for week in weeks_of(context, clock.now())]
    return dg.MaterializeResult(metadata=present.rows("weeks", reports))
