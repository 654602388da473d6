"""The lived academy is made once for all tests of this folder."""

from collections.abc import Iterator

import pytest

from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from tests.academy.lived import Life
from tests.conftest import fresh_database


@pytest.fixture(scope="package")
def life(server: EmbeddedServer) -> Iterator[Life]:
    """An academy after two weeks with ORACLE."""
    with fresh_database(server) as url:
        store = Store(url)
        try:
            lived = Life(store)
            lived.live()
            yield lived
        finally:
            store.close()
