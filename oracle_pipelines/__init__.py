"""When things run, and what may stop them. Thin: an asset is a call into oracle_lib."""

import warnings

from dagster import BetaWarning

# Backfill policies are what makes many days one run. Dagster calls them beta; the versions are pinned.
warnings.filterwarnings("ignore", category=BetaWarning)
