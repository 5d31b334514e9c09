"""Commands about the state of runs, on a real one: pools, breakers, dead letters, the archive, the report of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

HERE = "tests.unit.cli.test_state_commands"
ONCE = "{maximum_attempts: 1}"
FILE = f"""
workflow: undone
pools: {{db: 2}}
steps:
  one: {{python: "{HERE}:fine", queue: {{pool: db}}, compensate: "{HERE}:fail", compensate_retry: {ONCE}}}
  two: {{after: [one], python: "{HERE}:fail", breaker: {{dependency: lab, failures: 2}}, retry: {ONCE}}}
"""


def fine() -> str:
    return "fine"


def fail() -> None:
    raise OSError("no")


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Any) -> Any:
    """A command's exit code with its JSON document, or its text, after one run that left a dead letter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAKERAY_STATE", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("LAKERAY_EXECUTOR", "inline")
    (tmp_path / "w.yaml").write_text(FILE)

    def ask(*arguments: str, text: bool = False) -> tuple[int, Any]:
        told = tell(*arguments) if text else tell(*arguments, "--json")
        return told.code, told.out if text else told.document

    assert ask("run", "w.yaml")[0] == 1
    return ask


def test_pools_and_breakers_are_listed_and_set_right(ask):
    code, document = ask("pools", "list")
    assert (code, document["pools"][0]["name"], document["pools"][0]["slots"]) == (0, "db", 2)
    assert ask("pools", "resize", "db", "5") == (0, {"pool": "db", "slots": 5})
    assert "db" in ask("pools", "list", text=True)[1]
    code, document = ask("breakers", "list")
    assert (document["breakers"][0]["dependency"], document["breakers"][0]["failures"]) == ("lab", 1)
    assert ask("breakers", "reset", "lab") == (0, {"closed": "lab"})
    assert ask("breakers", "list", "--tenant", "default") == (0, {"breakers": []})
    code, document = ask("pools", "resize", "none", "5")
    assert (code, document["error"]["hint"]) == (1, "pools: db; `pools` of a workflow file makes them")


def test_dead_letters_are_listed_shown_redriven_and_given_up(ask):
    code, document = ask("deadletters", "list")
    [letter] = document["deadletters"]
    assert (code, letter["step"], letter["kind"]) == (0, "one", "compensation")
    assert ask("deadletters", "show", letter["letter"])[1]["deadletter"] == letter
    assert "redrive" in ask("deadletters", "show", letter["run_id"], text=True)[1]
    code, document = ask("deadletters", "redrive", letter["letter"])
    assert (code, document["run"]["run_id"], document["run"]["state"]) == (1, letter["run_id"], "failed")
    [again] = ask("deadletters", "list")[1]["deadletters"]
    assert again["letter"] != letter["letter"]
    assert ask("deadletters", "discard", again["letter"])[0] == 0
    assert ask("deadletters", "list") == (0, {"deadletters": []})


def test_a_report_comes_from_the_history_then_from_the_archive(ask, tmp_path):
    [line] = ask("runs", "list")[1]["runs"]
    code, report = ask("runs", "report", line["run_id"])
    assert (code, report["workflow"]["steps"][0]["undone"]["state"]) == (0, "failed")
    assert [error["code"] for error in report["errors"]["errors"]] == ["OSError", "not_undone"]
    assert all(error["what_to_do"] for error in report["errors"]["errors"])
    assert [each["step"] for each in report["performance"]["critical_path"]] == ["one", "two"]
    code, document = ask("runs", "archive", "--older-than", "0s", "--into", "kept")
    assert (code, document["archived"]["runs"]) == (0, 1)
    assert ask("runs", "list") == (0, {"runs": []})
    assert ask("runs", "list", "--archive", "kept")[1]["runs"] == [line]
    assert ask("runs", "report", line["run_id"], "--archive", "kept") == (0, report)
    assert ask("runs", "archive", "--older-than", "soon")[0] == 2
    assert "archived" in json.dumps(ask("deadletters", "list")[1])
