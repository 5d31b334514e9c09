"""The public face is small, sorted, documented; each name is used by a test."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lakeray

ROOT = Path(__file__).parent.parent


def test_few_and_sorted():
    assert list(lakeray.__all__) == sorted(lakeray.__all__)
    assert 0 < len(lakeray.__all__) <= 25


def test_the_face_is_what_it_was():
    assert lakeray.__all__ == ["Lake", "LakerayError", "Run", "connect"]
    assert set(dir(lakeray)) == {*lakeray.__all__, "__version__"}


@pytest.mark.parametrize("name", lakeray.__all__)
def test_each_is_documented(name):
    thing = getattr(lakeray, name)
    assert inspect.getdoc(thing)
    assert thing.__module__.startswith("lakeray.")
    methods = [item for key, item in vars(thing).items() if not key.startswith("_")] if inspect.isclass(thing) else []
    assert not [item for item in methods if (callable(item) or isinstance(item, property)) and not inspect.getdoc(item)]


@pytest.mark.parametrize("name", lakeray.__all__)
def test_each_is_in_the_readme_or_the_docs(name):
    texts = [
        path.read_text()
        for path in (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md")))
    ]
    assert any(name in text for text in texts)


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lakeray.no_such_name


def test_the_version_is_the_packages():
    code = "import lakeray; print(lakeray.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().split(".")[:2] == ["0", "1"]
