"""Everything Dagster loads, assembled. Nothing connects here: a code location loads without a database."""

import dagster as dg

from oracle_pipelines import checks
from oracle_pipelines.assets import analyze, decide, execute, learn, observe, tell
from oracle_pipelines.jobs import JOBS
from oracle_pipelines.resources import Database
from oracle_pipelines.schedules import SCHEDULES
from oracle_pipelines.sensors import SENSORS

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([observe, analyze, decide, execute, learn, tell]),
    asset_checks=[checks.equals_rebuild],
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=SENSORS,
    resources={"database": Database()},
    executor=dg.in_process_executor,
)
