"""Upkeep in a run: a step of its own, or by rule after an import, which it never makes fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lakeray.config import Settings
from lakeray.delta.files import data_files
from lakeray.delta.table import require_table, set_properties
from lakeray.delta.upkeep import history
from lakeray.errors import TableError
from lakeray.lake import Lake
from lakeray.observability.progress import Silent
from lakeray.reports import build_report
from lakeray.reports.render import render
from lakeray.runtime import upkeep
from lakeray.runtime.summary import RunSummary
from lakeray.spec.load import load_workflow
from tests.unit.importer.small_lake import SmallLake, lines, read


def run(
    lake: SmallLake, *, table: dict[str, Any] | None = None, maintain: dict[str, Any] | None = None, **more: Any
) -> RunSummary:
    text: dict[str, Any] = {
        "workflow": "w",
        "sources": {"s": {"uri": f"{lake.raw}/", "format": "json"}},
        "tables": {"t": {"uri": lake.table_uri, **(table or {})}},
        "steps": {"ingest": {"import": {"from": "s", "into": "t", "batch": {"max_objects": 1}}}},
    }
    if maintain is not None:
        text["steps"]["tidy"] = {"after": ["ingest"], "maintain": {"table": "t", **maintain}}
    settings = Settings(executor="inline")
    return Lake(settings, Silent()).run(load_workflow(json.dumps(text, indent=1)), **more).result(60)


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    lake = SmallLake(tmp_path)
    for number in range(6):
        lake.put(f"{number}.json", lines(*({"a": number * 10 + row} for row in range(3))))
    return lake


def test_small_files_are_put_together_by_rule(lake: SmallLake) -> None:
    rule = {"optimize": {"when": {"small_files": 7}}}
    done = run(lake, table=rule)
    assert len(data_files(require_table(lake.table_uri))) == 6, "too few"
    lake.put("6.json", lines({"a": 99}))
    done = run(lake, table=rule)
    assert len(data_files(require_table(lake.table_uri))) == 1
    (step,) = done.steps
    assert step.imported
    assert any("automatic optimize: 7 files became 1" in note for note in step.imported.notes)
    assert read(lake.table_uri).num_rows == 19
    before = require_table(lake.table_uri).version
    run(lake, table=rule)
    assert require_table(lake.table_uri).version == before, "nothing new, nothing to do"


def test_an_optimize_that_fails_is_noted_and_the_import_succeeds(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise TableError("no luck", uri="t")

    for broken, said in ((fails, "no luck"), (lambda *_, **__: 1 / 0, "unexpected ZeroDivisionError")):
        monkeypatch.setattr(upkeep, "optimize", broken)
        lake.put(f"more-{said}.json", lines({"a": 99}))
        done = run(lake, table={"optimize": {"when": {"small_files": 2}}})
        assert done.state == "succeeded"
        assert done.steps[0].imported
        assert any(said in note for note in done.steps[0].imported.notes)


def test_a_step_keeps_the_table_in_shape(lake: SmallLake) -> None:
    done = run(lake, maintain={"z_order": ["a"], "vacuum": "0s", "checkpoint": True, "clean_log": True})
    assert [(step.name, step.kind, step.state) for step in done.steps] == [
        ("ingest", "import", "succeeded"),
        ("tidy", "maintain", "succeeded"),
    ]
    (found,) = [step.maintained for step in done.steps if step.maintained]
    assert [text.partition(":")[0] for text in found.done] == ["optimize", "vacuum", "checkpoint", "log"]
    assert "6 files became 1" in found.done[0]
    assert history(lake.table_uri)[2].operation == "OPTIMIZE"
    assert len(list(Path(lake.table_uri).glob("*.parquet"))) == 1
    assert read(lake.table_uri).num_rows == 18
    for form in ("text", "markdown", "html", "json"):
        assert "6 files became 1" in render(build_report(done), form)


def test_a_step_that_fails_says_why_and_one_after_a_failure_is_skipped(lake: SmallLake) -> None:
    done = run(lake, maintain={"z_order": ["no_such"]})
    assert (done.state, done.steps[1].state) == ("failed", "failed")
    assert done.steps[1].error
    assert "no_such" in done.steps[1].error.message
    lake.put("bad.json", b"\xff\xfe\x00 no json")
    other = SmallLake(lake.folder / "absent")
    done = run(other, maintain={})
    assert [step.state for step in done.steps][1] in ("skipped", "succeeded")


def test_a_table_that_is_not_there_needs_nothing(tmp_path: Path) -> None:
    lake = SmallLake(tmp_path)
    lake.raw.mkdir()
    done = run(lake, maintain={})
    assert done.state == "succeeded"
    assert done.steps[1].maintained
    assert done.steps[1].maintained.done == ["there is no table yet: nothing to do"]


def test_upkeep_alone_can_be_run(lake: SmallLake) -> None:
    run(lake)
    done = run(lake, maintain={"vacuum": "0s"}, steps=["tidy"])
    assert [step.name for step in done.steps] == ["tidy"]
    assert len(data_files(require_table(lake.table_uri))) == 1


def test_the_doctor_warns_of_a_table_that_forgets(lake: SmallLake) -> None:
    """An import whose transaction id expired stops for good; one whose log is gone cannot rule a RESTORE out."""

    def told() -> tuple[bool, str]:
        (found,) = [check for check in Lake(Settings(), Silent()).doctor(lake.workflow()) if "memory" in check.name]
        return found.ok, found.detail

    assert told() == (True, "there is no table yet")
    for number in range(3):
        lake.put(f"more{number}.json", lines({"a": number}))
        lake.run()
    assert told() == (True, "transaction ids are kept; the log reaches back to version 0")
    Lake(Settings(executor="inline"), Silent()).table(lake.table_uri).optimize()
    require_table(lake.table_uri).delta.create_checkpoint()
    for entry in sorted(Path(lake.table_uri, "_delta_log").glob("*.json"))[:-1]:
        entry.unlink()
    ok, detail = told()
    assert not ok
    assert "/ingest may ask it from version" in detail
    set_properties(lake.table_uri, {"delta.setTransactionRetentionDuration": "interval 7 days"})
    ok, detail = told()
    assert not ok
    assert "interval 7 days: an import that pauses for longer stops" in detail
