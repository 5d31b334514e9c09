"""Upkeep of a child table takes neither files that an import still needs nor entries of its log."""

from __future__ import annotations

import datetime as dt

import pytest

from lakeray.delta.table import require_table
from lakeray.delta.upkeep import live_files
from lakeray.errors import StoreUnavailable
from lakeray.importer import batch as batch_module
from lakeray.importer.unnest import commit as commit_module
from lakeray.importer.upkeep.log import needed_since
from lakeray.runtime.upkeep import TableOf
from tests.sample_lake import data_files, read
from tests.unit.importer.small_lake import SmallLake, lines


@pytest.fixture
def lake(tmp_path):
    return SmallLake(
        tmp_path,
        step={"unnest": {name: {"from": name, "key": ["id"]} for name in ("items", "tags")}},
        more_tables={name: {"uri": str(tmp_path / "silver" / name)} for name in ("items", "tags")},
    )


def uri_of(lake, name):
    return lake.workflow().tables[name].uri


def row(number):
    return lines({"id": number, "items": [{"sku": "x"}], "tags": ["y"]})


def broken(lake, monkeypatch, name):
    """An import that dies at that failpoint of ``commit_batch``."""

    def strike(found):
        if found == name:
            raise StoreUnavailable("killed", hint="by the test")

    with monkeypatch.context() as patch:
        patch.setattr(commit_module, "failpoint", strike)
        with pytest.raises(StoreUnavailable):
            lake.run()


def test_vacuum_and_optimize_leave_staged_files_of_an_open_batch_alone(lake, monkeypatch):
    lake.put("a.json", row(1))
    lake.run()
    lake.put("b.json", row(2))
    broken(lake, monkeypatch, "after_child_commit")  # items has batch 2, tags and the table do not
    staged = data_files(uri_of(lake, "tags")) - {file.path for file in live_files(uri_of(lake, "tags"))}
    assert len(staged) == 1
    for name in ("items", "tags"):
        TableOf(uri_of(lake, name)).optimize()
        TableOf(uri_of(lake, name)).vacuum(0, dry_run=False)
    assert staged <= data_files(uri_of(lake, "tags"))
    lake.run()
    for name in ("items", "tags"):
        assert sorted(read(uri_of(lake, name))["id"].to_pylist()) == [1, 2]
    assert sorted(lake.rows("id")) == [1, 2]


def test_vacuum_takes_files_of_attempts_that_lost(lake, monkeypatch):
    lake.put("a.json", row(1))
    broken(lake, monkeypatch, "before_child_commit")  # its result and files are there, nobody goes on with them
    lake.run()
    strays = data_files(uri_of(lake, "items")) - {file.path for file in live_files(uri_of(lake, "items"))}
    assert len(strays) == 1
    assert set(TableOf(uri_of(lake, "items")).vacuum(0, dry_run=False)) == strays


def test_the_childs_log_is_kept_from_where_the_import_looked_last(lake):
    lake.put("a.json", row(1))
    lake.run()
    checked = require_table(uri_of(lake, "items")).version - 1
    needed, who = needed_since(require_table(uri_of(lake, "items")))
    assert needed <= checked + 1
    assert who is not None
    assert who.endswith("/ingest")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=40)
    for number in range(2, 5):
        lake.put(f"{number}.json", row(number))
        lake.run()
        TableOf(uri_of(lake, "items")).checkpoint()
        TableOf(uri_of(lake, "items")).clean_log(now=later)
    lake.put("9.json", row(9))
    lake.run()
    assert sorted(read(uri_of(lake, "items"))["id"].to_pylist()) == [1, 2, 3, 4, 9]


def test_a_child_that_lost_its_race_discards_its_files(lake, monkeypatch):
    """Another importer commits the batch between this one's staging and its first commit."""
    lake.put("a.json", row(1))
    raced = []
    real = batch_module.commit_batch

    def slow(*arguments, **named):
        if not raced:
            raced.append(True)
            other = SmallLake(lake.folder, step=lake.step, more_tables=lake.more_tables)
            other.run()
        return real(*arguments, **named)

    monkeypatch.setattr(batch_module, "commit_batch", slow)
    summary = lake.run()
    assert any("was committed by another importer first" in note for note in summary.notes)
    for name in ("items", "tags"):
        assert read(uri_of(lake, name))["id"].to_pylist() == [1]
        assert data_files(uri_of(lake, name)) == {file.path for file in live_files(uri_of(lake, name))}
    assert lake.rows("id") == [1]
    assert lake.stray_files() == set()
