"""What is asked between predictions and actions, as asset checks of `predictions`.

The gate (`soundness`) blocks: a failed check stops the run before `actions`, so nothing is proposed on broken input;
what was worked out stays and the next run that finds it sound goes on. The health of the models (`model_health`) does
not: a failed check holds the rules that ask for what that model says, and no others.

Once a week `equals_rebuild` proves on live data that the incremental tables are what a rebuild would give.
"""

from collections.abc import Sequence

import dagster as dg

from oracle_lib import clock, settings, stages
from oracle_lib.analyze import model_health, soundness
from oracle_lib.analyze.findings import Finding
from oracle_pipelines.resources import Database

ASKED = [
    dg.AssetCheckSpec(name=name, asset="predictions", description=claim, blocking=questions is soundness.QUESTIONS)
    for questions in (soundness.QUESTIONS, model_health.QUESTIONS)
    for name, claim in questions.items()
]


def results(findings: Sequence[Finding]) -> list[dg.AssetCheckResult]:
    """Return the findings as Dagster shows and enforces them."""
    return [
        dg.AssetCheckResult(
            check_name=finding.name,
            passed=finding.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=finding.detail,
        )
        for finding in findings
    ]


@dg.asset_check(asset="segments", description="The incremental tables are, row for row, what a rebuild would give.")
def equals_rebuild(database: Database) -> dg.AssetCheckResult:
    """Compare counts, windows and segments with those of a rebuild."""
    report = stages.compare_with_rebuild(database.store, clock.now(), settings.get())
    return dg.AssetCheckResult(
        passed=report.equal,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={f"{table}_different": rows for table, rows in report.different.items()},
    )
