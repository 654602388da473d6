"""The event routes keep what the OpenAPI document says of them, whatever is sent: no 5xx, no answer it does not name.

Schemathesis makes requests out of the document and checks every answer against it. Full size (`ORACLE_FULL=1`): 500
examples an operation.
"""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as effort
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks

from oracle_api import document
from oracle_api.app import create_app
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from tests.api.conftest import make_key, serving
from tests.conftest import FULL

load_all_checks()
DOCUMENT = document.of(create_app(Store("postgresql://nobody@/nothing"), Settings()))
# All but the one whose answer has no end.
ROUTES = (
    schemathesis.openapi.from_dict(DOCUMENT).include(tag=["events", "segment"]).exclude(path="/api/oracle/events/tail")
)
# The document cannot say how old a time stamp may be, nor that an id of blanks is none.
BEYOND_THE_DOCUMENT = CHECKS.get_one("positive_data_acceptance")
# One item against the document is refused inside a 2xx: each is judged by itself.
JUDGED_ONE_BY_ONE = frozenset({"/api/oracle/events/batch", "/v1/batch", "/v1/import"})
REFUSES_THE_WHOLE = CHECKS.get_one("negative_data_rejection")


@pytest.fixture
def served(store: Store, settings: Settings) -> Iterator[httpx.Client]:
    """A server whose rate limit is out of the way, and a key that may do everything."""
    with store.transaction() as conn:
        key = make_key(conn, "admin")
    with (
        serving(store, settings.model_copy(update={"events_per_second": 1_000_000})) as address,
        httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client,
    ):
        yield client


@ROUTES.parametrize()
@effort(max_examples=500 if FULL else 15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_the_document_says(case: Case, served: httpx.Client) -> None:
    excluded = [BEYOND_THE_DOCUMENT, *([REFUSES_THE_WHOLE] if case.path in JUDGED_ONE_BY_ONE else [])]
    case.call_and_validate(
        base_url=str(served.base_url),
        headers={"Authorization": served.headers["Authorization"]},
        excluded_checks=excluded,
    )


def test_an_admin_can_read_the_document(served: httpx.Client) -> None:
    assert served.get("/api/oracle/openapi.json").json() == DOCUMENT
