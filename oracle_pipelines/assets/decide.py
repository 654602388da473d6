"""What to do: rules that fire become actions that wait for a person."""

import dagster as dg

from oracle_lib import clock, settings, stages
from oracle_lib.storage import tables
from oracle_pipelines import present
from oracle_pipelines.assets.analyze import predictions
from oracle_pipelines.failures import told
from oracle_pipelines.partitions import daily_asset, window_of
from oracle_pipelines.resources import Database


@daily_asset(group_name="decide", deps=[predictions], metadata=present.columns(tables.actions))
@told
def actions(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """Proposals that wait for approval: at most one for each cause, none for a day that is not the newest."""
    window = window_of(context, clock.now())
    detailed = len(window.days) == 1
    told_of = present.figures(stages.propose(database.store, window), detailed=detailed)
    chosen = present.figures(stages.propose_next_best(database.store, window, settings.get()), detailed=detailed)
    return dg.MaterializeResult(metadata={**told_of, **{f"next_best_{name}": value for name, value in chosen.items()}})
