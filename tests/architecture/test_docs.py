"""Docs say what the code does: every field, setting and guarantee named there exists, and the other way round."""

import json
import re
from pathlib import Path

import pytest

from oracle_lib.analyze.audience import Segment
from oracle_lib.decide import conditions, definition, starters, templates
from oracle_lib.decide.conditions.leaf_reading import KINDS
from oracle_lib.decide.why_not import REASONS
from oracle_lib.settings import Settings
from oracle_lib.storage.embedded import SERVER_SETTINGS

ROOT = Path(__file__).resolve().parents[2]
RULES = (ROOT / "docs" / "rules.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()
_BOOKKEEPING = {"id", "user_id", "created_at", "updated_at"}


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def test_every_field_of_a_segment_is_explained_and_nothing_else_is() -> None:
    section = METRICS.split("## The fields of a segment")[1].split("\n## ")[0]
    headings = {name.strip() for line in re.findall(r"^### (.+)$", section, re.MULTILINE) for name in line.split(",")}
    assert headings == {camel(name) for name in Segment.__dataclass_fields__ if name not in _BOOKKEEPING}


def test_every_setting_named_in_the_docs_exists() -> None:
    known = {f"ORACLE_{name.upper()}" for name in Settings.model_fields} | {"ORACLE_DATA", "ORACLE_FULL"}
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        named = set(re.findall(r"\bORACLE_[A-Z_]*[A-Z]\b", page.read_text()))
        assert named <= known, f"{page.name}: {named - known}"


def test_every_setting_is_listed_in_operations() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in Settings.model_fields if f"`ORACLE_{name.upper()}`" not in text] == []


def test_every_server_runs_with_the_settings_that_operations_explains() -> None:
    said = {f"{name}={value}" for name, value in SERVER_SETTINGS.items()}
    assert set(re.findall(r"^      - -c(\w+=\w\S*)$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)) == said
    section = (ROOT / "docs" / "operations.md").read_text().split("## A PostgreSQL of your own")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+=\S+)` \|", section, re.MULTILINE)) == said


def test_every_guarantee_in_the_docs_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text()
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
    proofs = {
        str(path.relative_to(ROOT))
        for folder in ("guarantees", "security", "ai")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
    }
    assert proofs <= named


SOME_RULE = {
    **definition.wire(starters.rules()[0]),
    "actionType": "dm",
    "actionData": {"content": "Hi"},
}


@pytest.mark.parametrize("example", re.findall(r"```json\n(.*?)```", RULES, re.DOTALL))
def test_every_example_in_the_rules_page_is_accepted(example: str) -> None:
    body = json.loads(example)
    if body.keys() <= SOME_RULE.keys():
        read = definition.read({**SOME_RULE, **body})
        assert definition.read(definition.wire(read)) == read
    else:
        parsed = conditions.parse(body)
        assert conditions.parse(conditions.wire(parsed)) == parsed


def test_the_rules_page_explains_every_leaf_and_shows_an_example_of_each() -> None:
    section = RULES.split("## Conditions")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(KINDS)
    assert [kind for kind in KINDS if f'{{"{kind}": ' not in section] == []
    assert [
        word for word in (*conditions.MESSAGES, *conditions.SUMMED, *conditions.CHANNELS) if f"`{word}`" not in section
    ] == []


def test_the_rules_page_names_every_fact_and_every_reason() -> None:
    assert [fact for fact in templates.FACTS if f"`{fact}`" not in RULES] == []
    section = RULES.split("## What may hold a proposal back")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"\w+", row)}
    waits = {"quiet_hours", "stopped", "hourly_cap", "slow_start", "rule_paused"}
    assert [name for name in waits if f"`{name}`" not in section] == []
    assert listed == REASONS.keys() - waits
    assert all(f"`{name}`" in section for name in REASONS)


def test_every_command_is_named_in_operations() -> None:
    from typer.main import get_command

    from oracle_lib.cli.commands import app

    text = (ROOT / "docs" / "operations.md").read_text()
    group = get_command(app)
    names = list(group.commands)  # type: ignore[attr-defined]
    assert [name for name in names if f"oracle {name}" not in text and f"make {name}" not in text] == []
