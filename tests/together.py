"""Which tests run on one worker: those that share a costly world or one `oracle up`; all others go wherever is room.

pytest-xdist's own marks for this were seen to have no effect with pytest 9.2: node ids no longer carry them.
"""

from xdist.scheduler import LoadScopeScheduling

# A file, or a folder's files, by the beginning of their path; the first that fits says what they belong to.
_WORLDS = {
    "tests/academy/test_calibration.py": "calibration",
    "tests/academy/test_uplift.py": "uplift",
    "tests/academy/": "academy",
    "tests/api/test_segment_": "segments",
    "tests/panel/test_in_a_browser.py": "browser",
    "tests/pipelines/test_loop.py": "up",
    "tests/pipelines/test_oulad_backfill.py": "up",
    "tests/pipelines/test_up.py": "up",
    "tests/unit/test_conditions.py": "conditions",
    "tests/unit/test_dry_run.py": "dry run",
    "tests/unit/test_conditions_in_a_world.py": "conditions in a world",
    "tests/unit/test_formulas.py": "formulas",
    "tests/unit/test_rebuilding.py": "rebuilding",
    "tests/unit/test_same_rows_on_duckdb.py": "two engines",
    "tests/unit/test_simulate.py": "simulate",
}


class TogetherScheduling(LoadScopeScheduling):
    """Hands out single tests, and worlds as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        return next((world for start, world in _WORLDS.items() if nodeid.startswith(start)), nodeid)
