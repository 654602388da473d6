"""Who retries what.

    Transient, a lost or refused database connection, a deadlock -> the step asks Dagster to run it again (stages are
                                                                    idempotent), up to three times
    every other OracleError                                      -> the step fails at once, with its sentence and no
                                                                    retry: a person has to mend something
    anything else                                                -> a defect: it fails with its stack

A run whose process was killed is retried as a whole by `run_retries` in dagster.yaml; a step that failed is not
retried there too. One mechanism a failure: `allow_retries` reaches only the first.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import dagster as dg
from sqlalchemy.exc import DBAPIError, OperationalError

from oracle_lib.errors import OracleError, Transient

MAX_RETRIES = 3
_DATABASE_SECONDS = 5.0

P = ParamSpec("P")
R = TypeVar("R")


def told(compute: Callable[P, R]) -> Callable[P, R]:
    """Turn what a stage raises into what Dagster should do about it."""

    @wraps(compute)
    def told_compute(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return compute(*args, **kwargs)
        except Exception as error:
            answer = answer_to(error)
            if answer is None:
                raise
            raise answer from error

    return told_compute


def answer_to(error: Exception) -> dg.Failure | dg.RetryRequested | None:
    """Return what to raise instead of `error`; None: raise it as it is."""
    if isinstance(error, Transient):
        return dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=error.retry_after)
    if isinstance(error, OracleError):
        return dg.Failure(description=str(error), allow_retries=False)
    if isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=_DATABASE_SECONDS)
    return None
