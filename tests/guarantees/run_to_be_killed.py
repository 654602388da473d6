"""A process that runs the daily job through Dagster, on PostgreSQL storage, and waits in one of its steps to be killed.

It stands where a run worker stands. What was killed before is first recorded as failed, as run monitoring does, and
then executed again from where it failed, as run retries do.
"""

import os
import sys
import time
from datetime import datetime

import dagster as dg
import time_machine

from oracle_lib import stages
from oracle_lib.clock import newest_closed_day
from oracle_pipelines.definitions import defs

# Each asset of the daily job, and the stage that it ends with.
STEPS = {
    "events": "arrivals",
    "user_days": "rollup",
    "activity": "refresh",
    "retention": "retain",
    "segments": "count",
    "predictions": "score",
    "actions": "propose",
    "deliveries": "deliver",
    "outcomes": "attribute",
}


def daily() -> dg.JobDefinition:
    """The job, where Dagster can find it again."""
    return defs.resolve_job_def("daily")


def wait_in(step: str, when: str) -> None:
    """Say `in step` before the step's stage begins or after it has committed, and after that go no further."""
    name = STEPS[step]
    stage = getattr(stages, name)

    def stalled(*args: object, **how: object) -> object:
        if when == "before":
            print("in step", flush=True)
        report = stage(*args, **how)
        if when == "after":
            print("in step", flush=True)
        time.sleep(60)
        return report

    setattr(stages, name, stalled)


def main(now: datetime, *where: str) -> bool:
    """Run the newest closed day at `now`, again from its failure if it was killed; say whether it succeeded."""
    if where:
        wait_in(*where)
    with time_machine.travel(now, tick=True), dg.DagsterInstance.get() as instance:
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            instance.report_run_failed(run)
        failed = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=1)
        again = dg.ReexecutionOptions.from_failure(failed[0].run_id, instance) if failed else None
        return dg.execute_job(
            # By its name: this module is `__main__`, which Dagster could not find again.
            dg.build_reconstructable_job("tests.guarantees.run_to_be_killed", "daily"),
            instance,
            tags={"dagster/partition": newest_closed_day(now).isoformat()},
            reexecution_options=again,
        ).success


if __name__ == "__main__":
    succeeded = main(datetime.fromisoformat(sys.argv[1]), *sys.argv[2:])
    os._exit(0 if succeeded else 1)
