"""Every error ORACLE raises on purpose.

    OracleError
    ├── Invalid       the input is wrong: names the field and the fix            (HTTP 422)
    ├── Unknown       the caller is nobody we know: no key, or not a valid one   (HTTP 401)
    ├── Forbidden     the caller is known and may not do this                    (HTTP 403)
    ├── NotFound      nothing has that id                                        (HTTP 404)
    ├── Conflict      the thing has moved on: carries its current state          (HTTP 409)
    ├── Limited       too much at once: nothing was stored, wait and try again   (HTTP 429)
    ├── Transient     try again later: nothing was stored, nothing was sent      (HTTP 503)
    └── Permanent     trying again will not help: a person has to mend something (HTTP 500)

A message says what happened, what is safe and what to do. `oracle_api/errors.py` maps the tree to HTTP,
`oracle_pipelines/failures.py` to Dagster.
"""

from collections.abc import Mapping


class OracleError(Exception):
    """The root; `str(error)` is a sentence a person can act on."""


class Invalid(OracleError):
    """The input is wrong. `field` is the wire's name of what is wrong, `code` a stable machine-readable reason."""

    def __init__(self, message: str, *, field: str | None = None, code: str = "invalid") -> None:
        super().__init__(message)
        self.field = field
        self.code = code


class Unknown(OracleError):
    """The caller did not show who they are. It never says which part of the key was wrong."""


class Forbidden(OracleError):
    """The caller is known and lacks the scope."""


class NotFound(OracleError):
    """Nothing has that id."""


class Conflict(OracleError):
    """The thing is not in the state the caller believed. `current` is its state now, in wire words."""

    def __init__(self, message: str, *, current: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.current = current


class Transient(OracleError):
    """It may work later. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Limited(OracleError):
    """The caller sends too much. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Permanent(OracleError):
    """It will not work until a person mends something."""
