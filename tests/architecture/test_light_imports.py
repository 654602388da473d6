"""What is started often loads no more than it needs: an API that comes back after a crash, a react run after events.

Measured on two cores: without these libraries the API answers 1.1 s after its start, with Ibis 1.5 s; Dagster itself
is 0.8 s of the 1.3 s that the code location takes.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = frozenset({"pandas", "numpy", "scipy", "sklearn", "ibis", "sqlglot", "duckdb", "pyarrow"})
LOADED = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*sys.modules)"


def loaded(module: str) -> set[str]:
    """The modules of a fresh interpreter that has imported `module`."""
    command = [sys.executable, "-W", "ignore", "-c", LOADED, module]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("oracle_api.app", NUMBERS | {"dagster"}), ("oracle_pipelines.definitions", NUMBERS)],
)
def test_what_is_started_often_loads_nothing_heavy(module: str, heavy: frozenset[str]) -> None:
    found = loaded(module)
    assert module in found
    assert found & heavy == set()


def test_a_heavy_library_would_be_seen() -> None:
    assert "ibis" in loaded("oracle_lib.storage.publish") & NUMBERS
