"""`lakeray demo`: a lake, two runs, nothing that it did not make itself is touched."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from lakeray.cli import demo, sample_lake
from lakeray.errors import ConfigError
from lakeray.importer.recording.summary import Rows
from lakeray.spec.built import refuse_unbuilt
from lakeray.spec.load import load_workflow


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(sample_lake, "ORDER_OBJECTS", 12)
    monkeypatch.setattr(sample_lake, "CUSTOMER_OBJECTS", 5)
    monkeypatch.setattr(sample_lake, "NEW_ORDER_OBJECTS", 4)
    monkeypatch.setattr(sample_lake, "NEW_CUSTOMER_OBJECTS", 2)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_lake_is_the_same_every_time(small, tmp_path):
    first, second = sample_lake.generate(tmp_path / "a"), sample_lake.generate(tmp_path / "b")
    assert first == second
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_lake_holds_what_it_says(small, tmp_path):
    written = sample_lake.generate(tmp_path)
    found = {name: data for name, data in files(tmp_path).items() if not name.endswith(".tmp") and "/_" not in name}
    assert written.objects == len(found) == 17
    assert written.size_bytes == sum(map(len, found.values()))
    lines = 0
    for name, data in found.items():
        text = gzip.decompress(data) if name.endswith(".gz") else data
        lines += len(text.splitlines()) - name.endswith(".csv")
    assert written.records == lines


def test_the_full_lake_is_messy(tmp_path):
    sample_lake.generate(tmp_path)
    kinds = {"malformed": 0, "no id": 0, "negative": 0, "test": 0, "text": 0, "coupon": 0}
    for path in (tmp_path / "raw" / "orders").rglob("part-*.json"):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                order = json.loads(line)
            except ValueError:
                kinds["malformed"] += 1
                continue
            kinds["no id"] += order["order_id"] is None
            kinds["text"] += isinstance(order["amount"], str)
            kinds["negative"] += not isinstance(order["amount"], str) and order["amount"] < 0
            kinds["test"] += order["status"] == "test"
            kinds["coupon"] += "coupon" in order
    assert all(number > 20 for number in kinds.values()), kinds


def test_the_workflow_file_is_one_that_this_version_runs(tmp_path):
    root = tmp_path / 'odd "name" ü: #'
    workflow = load_workflow(sample_lake.workflow_text(root))
    refuse_unbuilt(workflow)
    assert workflow.ordered() == ["customers", "orders"]
    assert workflow.sources["raw_orders"].uri == str(root / "raw" / "orders")


def test_only_an_earlier_demo_is_made_anew(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="no earlier demo"):
        demo.prepared(precious)
    assert (precious / "thesis.txt").exists()
    again = demo.prepared(tmp_path / "demo")
    (again / "old").write_text("x")
    assert not (demo.prepared(tmp_path / "demo") / "old").exists()


def both_runs(lake, records):
    [step] = lake.summary.steps
    rows = Rows(read=records, written=records)
    step = step.model_copy(update={"imported": step.imported.model_copy(update={"rows": rows})})
    lake.summary = lake.summary.model_copy(update={"steps": [step]})


def test_the_demo_shows_two_runs_and_how_to_go_on(small, lake, tell, tmp_path):
    both_runs(lake, 17 * sample_lake.ROWS_PER_OBJECT)
    told = tell("demo", "--dir", str(tmp_path / "lake"))
    assert told.code == 0, told.err
    assert "all 510 generated records are accounted for" in told.err
    assert "The second run" in told.err
    assert "lakeray ledger show" in told.out
    assert [call[0] for call in lake.asked].count("run") == 2
    assert (tmp_path / "lake" / "orders.yaml").is_file()


def test_the_demo_notices_a_lost_record(small, lake, tell, tmp_path):
    both_runs(lake, 509)
    told = tell("demo", "--dir", str(tmp_path / "lake"), "--json")
    assert told.code == 1
    assert told.document["accounted"] is False


def test_the_demo_can_leave_nothing_behind(small, lake, tell, tmp_path):
    both_runs(lake, 510)
    told = tell("demo", "--dir", str(tmp_path / "lake"), "--remove", "--json")
    assert (told.code, len(told.document["reports"])) == (0, 2)
    assert not (tmp_path / "lake").exists()


def test_a_demo_that_fails_says_so(small, lake, tell, tmp_path):
    lake.summary = lake.summary.model_copy(update={"state": "failed"})
    assert tell("demo", "--dir", str(tmp_path / "lake")).code == 1
