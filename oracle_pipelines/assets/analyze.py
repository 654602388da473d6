"""Who they are: segments now, their counts through time, what will probably happen, and the models that say so."""

import dagster as dg

from oracle_lib import clock, settings, stages
from oracle_lib.storage import tables
from oracle_pipelines import checks, present
from oracle_pipelines.assets.observe import activity, user_days
from oracle_pipelines.failures import told
from oracle_pipelines.partitions import daily_asset, weekly_asset, weeks_of, window_of
from oracle_pipelines.resources import Database


@daily_asset(group_name="analyze", deps=[activity], metadata=present.columns(tables.segments))
@told
def segments(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """Who each user is today: engagement, risk, lifecycle, value; and how many of each kind there were on each day."""
    window = window_of(context, clock.now())
    detailed = len(window.days) == 1
    classified = stages.classify(database.store, window, settings.get())
    counted = stages.count(database.store, window, settings.get())
    past = {f"counts_{name}": value for name, value in present.figures(counted).items()}
    return dg.MaterializeResult(metadata=past | present.figures(classified, detailed=detailed))


@weekly_asset(group_name="analyze", deps=[user_days], metadata=present.columns(tables.models))
@told
def models(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """The models, trained on the past and tried on days they did not see; a better one is promoted."""
    weeks = weeks_of(context, clock.now())
    reports = [stages.train(database.store, week, settings.get()) for week in weeks]
    flat = [one for report in reports for one in ([report] if isinstance(report, stages.Untouched) else report)]
    plots = {
        f"{one.target}_calibration": present.calibration(
            [(part.predicted, part.observed) for part in one.metrics.bins], f"{one.target}, {one.kind}"
        )
        for one in flat
        if not isinstance(one, stages.Untouched) and one.metrics is not None
    }
    # Of several weeks only the last can be the current one.
    valued = [stages.forecast_value(database.store, week, settings.get()) for week in weeks][-1]
    told = {f"ltv_{name}": value for name, value in present.figures(valued).items()}
    if not isinstance(valued, stages.Untouched) and valued.metrics is not None:
        told["ltv_holdout"] = present.expected_and_actual(
            [(group.purchases, group.expected, group.actual) for group in valued.metrics.groups],
            f"ltv, {valued.metrics.days} days held out",
        )
    return dg.MaterializeResult(metadata=present.rows("models", flat) | plots | told)


@daily_asset(
    group_name="analyze",
    deps=[segments, models],
    check_specs=checks.ASKED,
    metadata=present.columns(tables.predictions),
)
@told
def predictions(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:
    """How likely each user is to leave, finish, upgrade or refer, by the promoted models; then what may rest on it."""
    window = window_of(context, clock.now())
    report = stages.score(database.store, window, settings.get())
    findings = stages.inspect(database.store, window, settings.get())
    return dg.MaterializeResult(
        metadata=present.figures(report, detailed=len(window.days) == 1), check_results=checks.results(findings)
    )
