"""The gate between predictions and actions: each finding of `soundness` is a blocking asset check of `predictions`.

A failed one stops the run before `actions`, so nothing is proposed on broken input; what was worked out stays and the
next run that finds it sound goes on.
"""

from collections.abc import Sequence

import dagster as dg

from oracle_lib.analyze.soundness import FINDINGS, Finding

GATE = [
    dg.AssetCheckSpec(name=name, asset="predictions", description=claim, blocking=True)
    for name, claim in FINDINGS.items()
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
