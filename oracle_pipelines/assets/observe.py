"""What happened: events as they came in, counted per user and day, and kept as long as retention says."""

import dagster as dg

from oracle_lib import clock, settings, stages
from oracle_lib.storage import tables
from oracle_pipelines import present
from oracle_pipelines.failures import told
from oracle_pipelines.partitions import daily_asset, window_of
from oracle_pipelines.resources import Database


@daily_asset(group_name="observe", metadata=present.columns(tables.events))
@told
def events(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """What the product sent, each event once: how many of each name, and what was refused and why."""
    window = window_of(context, clock.now())
    report = stages.arrivals(database.store, window)
    return dg.MaterializeResult(metadata=present.figures(report, detailed=len(window.days) == 1))


@daily_asset(group_name="observe", deps=[events], metadata=present.columns(tables.user_days))
@told
def user_days(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """How much each user did on each day: exactly the (user, day) pairs that waited are counted again."""
    return dg.MaterializeResult(
        metadata=present.figures(stages.rollup(database.store, window_of(context, clock.now())))
    )


@daily_asset(group_name="observe", deps=[user_days], metadata=present.columns(tables.activity))
@told
def activity(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """The sliding windows of each user as of today: last active, lessons in 7 days, revenue, and the rest."""
    return dg.MaterializeResult(
        metadata=present.figures(stages.refresh(database.store, window_of(context, clock.now())))
    )


@daily_asset(group_name="observe", deps=[user_days], metadata=present.columns(tables.sealed_days))
@told
def retention(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """The days whose raw events are past retention: dropped and sealed, their rollups kept."""
    report = stages.retain(database.store, window_of(context, clock.now()), settings.get())
    return dg.MaterializeResult(metadata=present.figures(report))
