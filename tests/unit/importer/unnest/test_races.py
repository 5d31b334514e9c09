"""The first child table that has a batch decides it: whoever comes later, alive or from the dead, goes on with that.

Crash points: before and behind each commit to a child table, where another importer, `ledger abandon` or a changed
workflow file comes in between.
"""

from __future__ import annotations

import pytest

from lakeray.delta.upkeep import live_files
from lakeray.errors import ExactlyOnceError, StoreUnavailable
from lakeray.importer.recording.amend import LedgerOf
from lakeray.importer.unnest import commit as commit_module
from tests.sample_lake import data_files, read
from tests.unit.importer.small_lake import SmallLake, lines


def lake_at(folder):
    lake = SmallLake(
        folder,
        step={"unnest": {name: {"from": name, "key": ["id"]} for name in ("items", "tags")}},
        more_tables={name: {"uri": str(folder / "silver" / name)} for name in ("items", "tags")},
    )
    lake.put("a.json", lines({"id": 1, "items": [{"sku": "x"}, {"sku": "y"}], "tags": ["z"]}, {"id": 2, "items": []}))
    return lake


def held(lake):
    """Ids by table, files that no version names."""
    ids = {name: sorted(read(str(lake.folder / "silver" / name))["id"].to_pylist()) for name in ("items", "t", "tags")}
    strays = set()
    for name in ids:
        uri = str(lake.folder / "silver" / name)
        strays |= data_files(uri) - {file.path for file in live_files(uri)}
    return ids, strays


WHOLE = {"items": [1, 1], "t": [1, 2], "tags": [1]}
NOTHING = {"items": [], "t": [], "tags": []}
PASSES = [(name, count) for name in ("before_child_commit", "after_child_commit") for count in (1, 2)]


def at(monkeypatch, name, count, work):
    """Do ``work`` at that pass through the failpoint; what it does passes without."""
    passed = []

    def failpoint(found):
        if found == name:
            passed.append(found)
            if len(passed) == count:
                work()

    monkeypatch.setattr(commit_module, "failpoint", failpoint)


def die():
    raise StoreUnavailable("killed", hint="by the test")


@pytest.mark.parametrize(("name", "count"), PASSES)
def test_another_importer_comes_in_between(tmp_path, monkeypatch, name, count):
    lake, other = lake_at(tmp_path), lake_at(tmp_path)
    at(monkeypatch, name, count, other.run)
    lake.run()
    assert held(lake) == (WHOLE, set())
    assert len(lake.ledger().rows()) == 1


@pytest.mark.parametrize(("name", "count"), PASSES)
def test_an_abandonment_comes_in_between(tmp_path, monkeypatch, name, count):
    """It closes the batch where no child table has it, and finishes it where one has."""
    lake, other = lake_at(tmp_path), lake_at(tmp_path)
    decided = (name, count) != PASSES[0]

    def abandon():
        if decided:
            with pytest.raises(ExactlyOnceError, match="was committed by an import in the meantime"):
                LedgerOf(other.context()).abandon()
        else:
            LedgerOf(other.context()).abandon()

    at(monkeypatch, name, count, abandon)
    lake.run()
    assert held(lake) == (WHOLE if decided else NOTHING, set())
    assert lake.outcomes() == {"a.json": "loaded" if decided else "skipped"}


@pytest.mark.parametrize(("name", "count"), PASSES[1:])
@pytest.mark.parametrize("unnest", [{}, {"items": {"from": "items", "key": ["id"], "position": "n"}}])
def test_a_batch_that_a_child_has_is_finished_whatever_the_file_says_now(tmp_path, monkeypatch, name, count, unnest):
    lake = lake_at(tmp_path)
    at(monkeypatch, name, count, die)
    with pytest.raises(StoreUnavailable):
        lake.run()
    lake.step["unnest"] = unnest
    (lake.raw / "a.json").unlink()  # nothing has to be read again
    summary = lake.run()
    assert held(lake) == (WHOLE, set())
    assert summary.unnested == {"items": 2, "tags": 1}


def test_an_overwrite_that_was_abandoned_keeps_what_there_is(tmp_path, monkeypatch):
    lake = lake_at(tmp_path)
    lake.plan["mode"] = "overwrite"
    lake.run()
    lake.put("b.json", lines({"id": 3, "items": [{"sku": "x"}], "tags": ["z"]}))
    other = SmallLake(tmp_path, plan=lake.plan, step=lake.step, more_tables=lake.more_tables)
    at(monkeypatch, "before_child_commit", 1, lambda: LedgerOf(other.context()).abandon())
    lake.run()
    assert held(lake)[0] == WHOLE
