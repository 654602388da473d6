"""Asks a running Dagster to run a job, over its GraphQL, as its UI does. ORACLE's library never imports Dagster."""

import time
from collections.abc import Callable, Mapping
from datetime import date

import httpx

from oracle_lib.errors import Permanent, Transient

_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
_STATUS = """
query Status($id: ID!) {
  runOrError(runId: $id) {
    __typename
    ... on Run { status stats { ... on RunStatsSnapshot { stepsSucceeded } } }
  }
}
"""
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 30.0


class DagsterClient:
    """One Dagster web server, at its address."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/graphql"

    def launch(self, job: str, tags: Mapping[str, str]) -> str:
        """Queue a run of a job with tags; return its id. Raises `Permanent` with Dagster's words when it refuses."""
        params = {
            "selector": {
                "repositoryLocationName": "oracle",
                "repositoryName": "__repository__",
                "jobName": job,
            },
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask(_LAUNCH, {"params": params})["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise Permanent(f"Dagster did not start `{job}`: {answer}")
        return str(answer["run"]["runId"])

    def wait(self, run_id: str, seconds: float, step_done: Callable[[int], None]) -> None:
        """Wait until a run ends; `step_done` hears how many steps are done. Raises `Permanent` unless it succeeded."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            run = self._ask(_STATUS, {"id": run_id})["runOrError"]
            step_done(int((run.get("stats") or {}).get("stepsSucceeded") or 0))
            if run.get("status") in _ENDED:
                if run["status"] == "SUCCESS":
                    return
                raise Permanent(f"The run {run_id} ended as {run['status'].lower()}: see it in Dagster.")
            time.sleep(_POLL_SECONDS)
        raise Transient(f"The run {run_id} did not end within {seconds:.0f} s; it goes on in Dagster.")

    def _ask(self, query: str, variables: Mapping[str, object]) -> dict:
        try:
            answer = httpx.post(self._url, json={"query": query, "variables": variables}, timeout=_ANSWER_SECONDS)
            body: dict = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Transient(f"Dagster at {self._url} does not answer: {error}") from error
        if body.get("errors"):
            raise Permanent(f"Dagster refused the question: {body['errors'][0]['message']}")
        return dict(body["data"])


def days(first: date, last: date) -> dict[str, str]:
    """Return the tags with which one run of `daily` takes a range of days."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def week(first: date) -> dict[str, str]:
    """Return the tag with which a run of `weekly` takes a week."""
    return {"dagster/partition": first.isoformat()}
