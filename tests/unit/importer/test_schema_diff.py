"""``discover --schema-diff`` tells what an import would meet, and what imports met before; it changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lakeray.importer.discovery.look import discover
from lakeray.importer.executor import InlineExecutor
from tests.unit.importer.small_lake import NOW, SmallLake, lines


@pytest.fixture
def lake(tmp_path):
    lake = SmallLake(tmp_path)
    lake.put("a.json", lines({"id": 1, "s": {"a": 1}, "gone": 1}))
    lake.run()
    return lake


def diff(lake, kind="sample"):
    source = lake.workflow().sources["s"]
    found = discover("s", source, ledger=lake.ledger(), executor=InlineExecutor(), now=lambda: NOW, diff=kind)
    assert found.schema_diff is not None
    return found.schema_diff


def told(found):
    names = ("kind", "path", "before", "after")
    return [
        (*(change.get(name) for name in names), change.get("object", "").rpartition("/")[2]) for change in found.changes
    ]


def test_nothing_differs_after_an_import(lake):
    found = diff(lake)
    assert (found.changes, found.looked_at, found.complete) == ([], 1, False)
    assert found.known == found.found == {"id": "int64", "s": "struct<a: int64>", "gone": "int64"}
    assert [item.version for item in found.history] == [1]


@pytest.mark.parametrize("kind", ["sample", "all"])
def test_what_differs_is_told_with_its_first_object(lake, kind):
    (lake.raw / "a.json").unlink()
    lake.put("b.json", lines({"id": 2, "s": {"a": 1}}))
    lake.put("c.json", lines({"id": "x", "s": {"a": 1, "b": True}, "new": None}))
    lake.put("d.json", lines({"id": 4, "new": "text"}) + b"not json\n")
    assert told(diff(lake, kind)) == [
        ("conflict", "id", "int64", "string", "c.json"),
        ("added", "s.b", None, "bool", "c.json"),
        ("added", "new", None, "string", "d.json"),
        ("absent", "gone", "int64", None, ""),
    ]
    assert lake.count() == 1, "it only looks"


def test_all_finds_what_a_sample_does_not(lake):
    for number in range(100):
        lake.put(f"b{number:03d}.json", lines({"id": number, "s": {"a": 1}, "gone": 1}))
    lake.put("b070.json", lines(*[{"id": 1}] * 6000, {"id": 1, "rare": 1}))
    lake.put("b071.json", b"\x1f\x8b no gzip")
    assert told(diff(lake)) == []
    found = diff(lake, "all")
    assert found.looked_at == 101
    assert found.unread == 1
    assert told(found) == [("added", "rare", None, "int64", "b070.json")]


def test_the_command_line(lake, tmp_path):
    lake.put("b.json", lines({"id": 2, "new": 1}))
    file = tmp_path / "w.yaml"
    document = {
        "workflow": "w",
        "tenant": "acme",
        "sources": {"s": {"uri": f"{lake.raw}/", "format": "json"}},
        "tables": {"t": {"uri": lake.table_uri}},
        "steps": {"ingest": {"import": {"from": "s", "into": "t"}}},
    }
    file.write_text(json.dumps(document, indent=1))

    def run(*options):
        command = [sys.executable, "-m", "lakeray", "discover", str(file), "--schema-diff", *options]
        environment = {**os.environ, "LAKERAY_EXECUTOR": "inline"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    (found,) = json.loads(run("--json"))["sources"]
    assert [change["path"] for change in found["schema_diff"]["changes"]] == ["new"]
    text = run("--all")
    assert "all 2 objects" in text
    assert "schema log" in text
