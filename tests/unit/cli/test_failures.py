"""An error is a message, a hint, an exit code; never a stack trace that nobody asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from lakeray.cli.unbuilt import COMMANDS
from lakeray.errors import AccessDenied, LakerayError, StoreUnavailable
from lakeray.reports.documents import dumps

FILE = "orders.yaml"


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


MAIN = "import sys; from lakeray.cli import main; main()"


def test_an_expected_error_says_what_to_do(lake, tell):
    lake.error = AccessDenied("s3://b/raw refused the key", hint="set AWS_ACCESS_KEY_ID", uri="s3://b/raw")
    told = tell("plan", FILE)
    assert (told.code, told.out) == (1, "")
    assert "✗ s3://b/raw refused the key" in told.err
    assert "→ set AWS_ACCESS_KEY_ID" in told.err
    assert "Traceback" not in told.err
    assert tell("plan", FILE, "--json").document == {
        "error": {
            "code": "access_denied",
            "message": "s3://b/raw refused the key",
            "hint": "set AWS_ACCESS_KEY_ID",
            "uri": "s3://b/raw",
        }
    }


def test_an_unexpected_error_is_one_line_and_how_to_report_it(lake, tell, monkeypatch):
    lake.error = ValueError("first line\nsecond line of redis://user:hunter2@host/0")
    told = tell("plan", FILE)
    assert told.code == 1
    assert "unexpected error, ValueError: first line" in told.err
    assert "LAKERAY_DEBUG=1" in told.err
    assert "Traceback" not in told.err
    assert "second line" not in told.err
    monkeypatch.setenv("LAKERAY_DEBUG", "1")
    assert "Traceback" in tell("plan", FILE).err


def test_credentials_in_urls_and_control_characters_are_not_shown(lake, tell):
    lake.error = StoreUnavailable("cannot reach redis://user:hunter2@host/0 \x1b[2J", hint="\x1b]0;title\x07")
    told = tell("plan", FILE)
    assert "hunter2" not in told.err
    assert "\x1b" not in told.err
    assert "hunter2" not in tell("plan", FILE, "--json").out


def test_exit_code_and_problems_are_the_errors_own(lake, tell):
    class FailingError(LakerayError):
        code = "failing"
        exit_code = 2
        problems = ("orders.yaml:3:1 found x",)

    lake.error = FailingError("orders.yaml:3:1 found x")
    told = tell("plan", FILE, "--json")
    assert told.code == 2
    assert told.document["error"]["problems"] == ["orders.yaml:3:1 found x"]


@pytest.mark.parametrize("path", COMMANDS)
def test_planned_commands_are_refused_by_name(tell, path):
    for rest in ([], ["--help"], ["show", "x", "--some", "option"]):
        told = tell(*path.split(), *rest, "--json")
        assert told.code == 2
        error = told.document["error"]
        assert error["code"] == "not_built"
        assert f"`lakeray {path}`" in error["message"]
        assert error["hint"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rnu", FILE), "Did you mean 'run'?"),
        (("ledgre", "show", FILE), "Did you mean 'ledger'"),
        (("ledger", "shwo", FILE), "Did you mean 'show'?"),
        (("run", FILE, "--stepp", "x"), "--step"),
        (("plan",), "Missing argument"),
        (("run", FILE, "--report", "pdf"), "html"),
        (("tables", "restore", FILE), "--version"),
        (("ledger", "show", FILE, "--outcome", "fialed"), "'fialed' is none of loaded, partly_loaded, failed,"),
        (("ledger", "reset", FILE, "--outcome", "poison", "--outcome", "all"), "'all' is none of"),
    ],
)
def test_wrong_arguments_name_the_right_ones(lake, tell, arguments, said):
    told = tell(*arguments, "--json")
    assert told.code == 2
    assert said in told.document["error"]["message"]
    assert "--help" in told.document["error"]["hint"]
    shown = tell(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert said.split()[0] in shown.err
    assert not lake.asked


def test_no_command_shows_the_help(tell):
    told = tell()
    assert told.code == 2
    assert "lakeray demo" in told.out + told.err


@pytest.mark.parametrize("command", ["", "run", "ledger", "tables", "demo", "schema"])
def test_help_of_every_command_has_an_example(tell, command):
    told = tell(*command.split(), "--help")
    assert told.code == 0
    assert "Usage: lakeray" in told.out
    if command in {"run", "demo", "schema"}:
        assert (
            f"lakeray {command} " in told.out.split("Arguments")[0].split("Options")[-1]
            or f"lakeray {command}" in told.out
        )


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["version"], ["schema"], ["validate", "{file}"]])
def test_quick_commands_import_neither_ray_nor_delta(tmp_path, arguments):
    file = tmp_path / FILE
    file.write_text(
        "workflow: w\nsources: {r: {uri: raw/, format: json}}\ntables: {t: {uri: t}}\n"
        "steps: {i: {import: {from: r, into: t}}}\n"
    )
    code = (
        "import sys; from lakeray.cli.entry import execute; code = execute(sys.argv[1:]);"
        "heavy = {'ray', 'deltalake', 'datafusion', 's3fs', 'adlfs'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = python(code, *(argument.format(file=file) for argument in arguments))
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_is_no_error():
    code = "import subprocess, sys; "
    code += "p = subprocess.Popen([sys.executable, '-c', 'from lakeray.cli import main; main()', 'schema'], "
    code += "stdout=subprocess.PIPE, stderr=subprocess.PIPE); p.stdout.close(); "
    code += "err = p.stderr.read(); sys.stderr.buffer.write(err); sys.exit(p.wait())"
    done = python(code)
    assert done.returncode == 0
    assert done.stderr == ""


def test_documents_are_json_whatever_they_hold():
    import json
    from datetime import date
    from decimal import Decimal
    from pathlib import PurePosixPath

    value = {
        "name": "lone \ud800 surrogate",
        1: float("nan"),
        "large": 2**70,
        "bytes": b"\xff\x00",
        "day": date(2026, 1, 2),
        "path": PurePosixPath("/a"),
        "money": Decimal("1.10"),
        "set": {1},
        "nested": [{"inf": float("inf")}],
    }
    read = json.loads(dumps(value), parse_constant=pytest.fail)
    assert read["large"] == 2**70
    assert read["1"] is None
    assert read["nested"] == [{"inf": None}]
    assert (read["day"], read["money"], read["path"]) == ("2026-01-02", "1.10", "/a")


def test_errors_of_the_tree_survive_pickling_with_their_hints():
    error = pickle.loads(pickle.dumps(AccessDenied("no", hint="yes", uri="u")))
    assert (error.message, error.hint, error.uri) == ("no", "yes", "u")
