"""The room has no clock, no I/O and no randomness of its own: they come in as arguments, or a replay means nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[3] / "lakeray" / "workflow"
IMPURE = {
    *("asyncio", "fsspec", "io", "logging", "os", "pathlib", "random", "ray", "secrets", "socket", "subprocess"),
    *("tempfile", "threading", "time", "urllib", "uuid"),
}
CLOCKS = {"now", "utcnow", "today"}


def impurities(source: str) -> set[str]:
    """Modules that are imported and clocks that are read."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names} & IMPURE
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").partition(".")[0]} & IMPURE
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            found.add(f"{ast.unparse(node.func)}()")
    return found


def test_every_module_is_pure():
    modules = sorted(ROOM.glob("*.py"))
    assert len(modules) > 15
    assert {path.name: found for path in modules if (found := impurities(path.read_text()))} == {}


@pytest.mark.parametrize(
    "planted", ["import time", "from random import Random", "import os.path", "def f():\n    return datetime.now(UTC)"]
)
def test_what_is_not_pure_is_seen(planted):
    assert impurities(planted)
