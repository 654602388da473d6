"""`docs/api.md` and the application name the same routes, scopes and settings; each route has an example."""

import re
from pathlib import Path

from oracle_api import auth
from oracle_api.app import create_app
from oracle_lib import access
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+ /\S*)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def routes(settings: Settings) -> dict[str, frozenset[str]]:
    app = create_app(Store("postgresql://nobody@/nothing"), settings)
    return {f"{method} {path.replace(':path', '')}": scopes for method, path, scopes in auth.routes(app)}


def test_every_route_is_described_and_every_description_is_a_route() -> None:
    assert set(SECTIONS) == set(routes(Settings()))


def test_every_description_names_the_scope_the_route_takes() -> None:
    for route, scopes in routes(Settings()).items():
        assert set(re.findall(r"^Scope `([^`]+)`", SECTIONS[route], re.MULTILINE)) == scopes, route


def test_every_description_has_an_example() -> None:
    assert [route for route, text in SECTIONS.items() if "    curl " not in text] == []


def test_every_scope_is_listed() -> None:
    listed = PAGE.split("Scopes:")[1].split("Revoking")[0]
    assert re.findall(r"`([^`]+)`", listed) == list(access.SCOPES)
