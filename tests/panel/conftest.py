"""The same real server and clients as the tests of the API."""

from tests.api.conftest import base_url, client, client_with, settings

__all__ = ["base_url", "client", "client_with", "settings"]
