"""`lakeray up` says what it drives, a line or a record at a time, and at its end what it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lakeray.runtime.up import UpSummary


class Over:
    """What stood, and was stopped."""

    done = True
    summary = UpSummary(state="redis", orchestrators=2, duties=["schedules"], left=["run-1"])

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        say({"event": "orchestrator-0 drives 8 shards"})
        say({"event": "waits at its gate", "workflow": "orders", "run": "run-1", "step": "release"})

    def result(self, timeout: float | None) -> UpSummary:
        return self.summary

    def cancel(self) -> None: ...


@pytest.fixture
def asked(lake: Any) -> list[Any]:
    """What the command asked the lake for."""
    found: list[Any] = []

    def up(*files: str, say: Callable[[dict[str, Any]], None], **wishes: Any) -> Over:
        found.append((files, wishes))
        return Over(say)

    lake.up = up
    return found


def test_lines_for_people(asked: list[Any], tell: Any) -> None:
    told = tell("up", "a.yaml", "b.yaml", "--orchestrators", "2", "--grace", "3")
    assert asked == [(("a.yaml", "b.yaml"), {"orchestrators": 2, "grace_s": 3.0})]
    assert told.code == 0
    assert told.err.splitlines() == ["orchestrator-0 drives 8 shards", "orders run-1 release: waits at its gate"]
    assert "1 run is not over: `lakeray up` carries them on." in told.out


def test_records_for_collectors(asked: list[Any], tell: Any) -> None:
    told = tell("up", "--log-format", "json", "--json")
    assert asked == [((), {"orchestrators": None, "grace_s": 20.0})]
    assert told.document == {"up": {"state": "redis", "orchestrators": 2, "duties": ["schedules"], "left": ["run-1"]}}
    last = json.loads(told.err.splitlines()[-1])
    assert (last["workflow"], last["run"], last["step"]) == ("orders", "run-1", "release")
