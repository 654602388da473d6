"""Docs say what the code does: every field, setting and guarantee named there exists, and the other way round."""

import re
from pathlib import Path

from oracle_lib.settings import Settings
from oracle_lib.storage.tables import segments

ROOT = Path(__file__).resolve().parents[2]
METRICS = (ROOT / "docs" / "metrics.md").read_text()
_BOOKKEEPING = {"id", "user_id", "created_at", "updated_at", "last_analyzed"}


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def test_every_field_of_a_segment_is_explained_and_nothing_else_is() -> None:
    section = METRICS.split("## The fields of a segment")[1].split("\n## ")[0]
    headings = {name.strip() for line in re.findall(r"^### (.+)$", section, re.MULTILINE) for name in line.split(",")}
    assert headings == {camel(column.name) for column in segments.columns if column.name not in _BOOKKEEPING}


def test_every_setting_named_in_the_docs_exists() -> None:
    known = {f"ORACLE_{name.upper()}" for name in Settings.model_fields} | {"ORACLE_DATA", "ORACLE_FULL"}
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        named = set(re.findall(r"\bORACLE_[A-Z_]*[A-Z]\b", page.read_text()))
        assert named <= known, f"{page.name}: {named - known}"


def test_every_setting_is_listed_in_operations() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in Settings.model_fields if f"`ORACLE_{name.upper()}`" not in text] == []


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
