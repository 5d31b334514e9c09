"""The house stays as it is drawn: small modules, imports downward only, a cheap package, errors that travel."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import pickle
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lakeray
from lakeray import errors
from lakeray.errors import LakerayError

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for package in ("lakeray", "serve") for path in (ROOT / package).rglob("*.py"))
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
MAX_MODULE, MAX_FUNCTION, AIM = 400, 80, 40


def functions(path: Path) -> list[tuple[str, int]]:
    """Name and length in lines of every function."""
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [(f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1) for node in found]


def test_there_is_something_to_look_at():
    assert len(MODULES) > 100


def test_no_module_is_long():
    long = {
        str(path.relative_to(ROOT)): count
        for path in MODULES
        if (count := len(path.read_text().splitlines())) > MAX_MODULE
    }
    assert not long


def test_no_function_is_long():
    every = [item for path in MODULES for item in functions(path)]
    assert not [item for item in every if item[1] > MAX_FUNCTION]
    assert sum(length > AIM for _, length in every) <= len(every) * 0.05


@pytest.mark.parametrize("folder", ["lakeray", "serve", "tests", "benchmarks", "examples"])
def test_every_module_has_a_noun(folder):
    names = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")]
    assert not [str(path) for path in names if FORBIDDEN & set(path.with_suffix("").parts)]


def test_every_module_begins_with_its_promise():
    def promise(path: Path) -> str:
        return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]

    assert not [str(path.relative_to(ROOT)) for path in MODULES if not promise(path).endswith((".", ":"))]


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    linter = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
        "--no-cache",
        "--no-logo",
    ]
    env = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(linter, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def copy(tmp_path):
    """The packages with their linter's settings, to be spoilt."""
    for package in ("lakeray", "serve"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_go_downward_only(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("lakeray/objects/port.py", "import lakeray.cli.app", "The house"),
        ("lakeray/transform/plan.py", "from lakeray.delta import table", "The house"),
        ("lakeray/spec/model.py", "def late():\n    from lakeray.importer import loop", "The house"),
        ("lakeray/importer/loop.py", "import ray", "Only the runtime imports Ray"),
        ("lakeray/cli/app.py", "import serve", "lakeray never imports serve"),
    ],
)
def test_the_linter_sees_a_planted_violation(copy, module, line, contract):
    with (copy / module).open("a") as file:
        file.write(f"\n\n{line}\n")
    done = lint(copy)
    assert done.returncode == 1
    assert re.search(rf"{contract}.*BROKEN", done.stdout), done.stdout
    assert module.removesuffix(".py").replace("/", ".") in done.stdout


def test_a_room_without_a_place_in_the_house_is_seen(copy):
    (copy / "lakeray" / "attic.py").write_text('"""Anything."""\n')
    assert "lakeray.attic" in lint(copy).stdout


def loaded_by(statement: str) -> set[str]:
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        (
            "import lakeray",
            {"ray", "deltalake", "pyarrow", "datafusion", "fsspec", "s3fs", "adlfs", "pydantic", "typer", "numpy"},
        ),
        ("from lakeray import LakerayError", {"ray", "deltalake", "pyarrow", "datafusion", "fsspec", "pydantic"}),
        ("import lakeray.cli", {"ray", "deltalake", "datafusion", "s3fs", "adlfs"}),
        ("import lakeray; lakeray.connect", {"ray", "s3fs", "adlfs"}),
    ],
)
def test_importing_is_cheap(statement, heavy):
    assert not heavy & loaded_by(statement)


def tree(cls: type[LakerayError], depth: int = 0) -> list[tuple[int, str]]:
    """Depth and name of the class and all below it that ``lakeray.errors`` defines."""
    below = [child for child in cls.__subclasses__() if child.__module__ == errors.__name__]
    return [(depth, cls.__name__), *(line for child in below for line in tree(child, depth + 1))]


def test_the_drawn_tree_is_the_tree():
    drawn = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([│├└─ ]*)([A-Z]\w+)(?:\s{2,}|$)", line)
        if found:
            drawn.append((len(found[1]) // 4, found[2]))
    assert drawn == tree(LakerayError)


def every_error() -> list[type[LakerayError]]:
    """Every error class of the package, wherever it is defined."""
    for module in pkgutil.walk_packages(lakeray.__path__, "lakeray."):
        if module.name != "lakeray.__main__":
            importlib.import_module(module.name)
    found: list[type[LakerayError]] = [LakerayError]
    for cls in found:
        found.extend(
            child for child in cls.__subclasses__() if child.__module__.startswith("lakeray.") and child not in found
        )
    return found


def test_every_error_survives_pickling():
    classes = every_error()
    assert len(classes) >= 20
    for cls in classes:
        error = cls.__new__(cls)
        LakerayError.__init__(error, "it broke", hint="mend it", uri="s3://bucket/key")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.message, again.hint, again.uri, str(again)) == (
            cls,
            "it broke",
            "mend it",
            "s3://bucket/key",
            str(error),
        )
        assert again.args == ("it broke",)


def test_every_error_says_what_it_is():
    classes = every_error()
    own = [cls.code for cls in classes if "code" in vars(cls)]
    assert len(set(own)) == len(own), "one code, one meaning; a class without its own has its parent's"
    for cls in classes:
        assert inspect.getdoc(cls)
        assert re.fullmatch(r"[a-z_]+", cls.code)
        assert cls.exit_code in (1, 2)


def test_what_more_an_error_carries_survives_too():
    error = LakerayError("it broke")
    error.extra = {"line": 3}  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(error)).extra == {"line": 3}
