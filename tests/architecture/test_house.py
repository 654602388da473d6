"""The house in order: sizes, places and names that reviews should not have to check by eye."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if (ROOT / name).is_file()
]
CODE = [file for file in FILES if file.suffix == ".py" and "versions" not in file.parts]
PACKAGES = ("oracle_lib", "oracle_pipelines", "oracle_api")


def shown(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_no_file_is_longer_than_400_lines() -> None:
    assert {shown(file): n for file in CODE if (n := len(file.read_text().splitlines())) > 400} == {}


def test_no_python_file_at_the_top_can_shadow_a_library() -> None:
    assert [shown(file) for file in CODE if file.parent == ROOT] == []


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "helpers", "common", "misc", "manager"}
    assert [shown(file) for file in CODE if file.stem in drawers] == []


def test_every_module_says_what_it_promises() -> None:
    ours = [file for file in CODE if file.parts[len(ROOT.parts)] in PACKAGES]
    assert [shown(file) for file in ours if not file.read_text().lstrip().startswith('"""')] == []


def test_only_settings_reads_the_environment() -> None:
    reading = ("os.environ", "os.getenv", "from os import environ")
    ours = [file for file in CODE if file.parts[len(ROOT.parts)] == "oracle_lib" and file.name != "settings.py"]
    assert [shown(file) for file in ours if any(word in file.read_text() for word in reading)] == []


def test_only_edges_read_the_clock() -> None:
    inner = [file for file in CODE if file.is_relative_to(ROOT / "oracle_lib") and file.name != "clock.py"]
    inner = [file for file in inner if not file.is_relative_to(ROOT / "oracle_lib" / "cli")]
    readers = ("datetime.now(", "date.today(", "clock.now(", "utcnow(")
    assert [shown(file) for file in inner if any(word in file.read_text() for word in readers)] == []


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.lock", ".ci/run"])
def test_what_a_newcomer_looks_for_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


def test_the_lock_has_hashes_and_names_no_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock
    assert "://" not in lock
    assert "index-url" not in lock
