"""A RESTORE of a table or of a child alone stops the import; of both alike, it is dealt with as `on_restore` says."""

from __future__ import annotations

import pytest

from lakeray.delta.table import require_table
from lakeray.delta.upkeep import history, restore
from lakeray.errors import ImportFailed
from tests.sample_lake import read
from tests.unit.importer.small_lake import SmallLake, lines


@pytest.fixture
def lake(tmp_path):
    lake = SmallLake(
        tmp_path,
        step={"unnest": {"items": {"from": "items", "key": ["id"]}}},
        more_tables={"items": {"uri": str(tmp_path / "silver" / "items")}},
        plan={"on_restore": "reimport", "batch": {"max_objects": 1}},
    )
    for number in range(3):
        lake.put(f"{number}.json", lines({"id": number, "items": [{"sku": "a"}, {"sku": "b"}]}))
    lake.run()
    return lake


def items(lake):
    return str(lake.folder / "silver" / "items")


def back(uri, *, batches):
    """Set the table back to before its last ``batches`` batches."""
    numbered = [entry for entry in history(uri, None) if "lakeray.batch" in entry.metadata]
    restore(uri, numbered[batches - 1].version - 1)


def child_ids(lake):
    return sorted(read(items(lake))["id"].to_pylist())


def test_of_the_child_alone(lake):
    before = require_table(items(lake)).version
    back(items(lake), batches=2)
    with pytest.raises(
        ImportFailed, match=r"took the rows of batch 2, 3 out of the child table items, but not out of t"
    ):
        lake.run()
    restore(items(lake), before)  # as the hint says
    lake.put("9.json", lines({"id": 9, "items": [{"sku": "c"}]}))
    lake.run()
    assert child_ids(lake) == [0, 0, 1, 1, 2, 2, 9]


def test_of_the_table_alone(lake):
    back(lake.table_uri, batches=1)
    with pytest.raises(ImportFailed, match="batch 3 out of t, but not out of its child table items"):
        lake.run()
    back(items(lake), batches=1)  # as the hint says
    lake.run()
    assert sorted(lake.rows("id")) == [0, 1, 2]
    assert child_ids(lake) == [0, 0, 1, 1, 2, 2]


def test_of_both_alike(lake):
    back(lake.table_uri, batches=2)
    back(items(lake), batches=2)
    lake.run()
    lake.run()
    assert sorted(lake.rows("id")) == [0, 1, 2]
    assert child_ids(lake) == [0, 0, 1, 1, 2, 2]


def test_of_a_table_whose_batch_had_no_rows_for_the_child(lake):
    lake.put("4.json", lines({"id": 4, "items": []}))
    lake.run()
    back(lake.table_uri, batches=1)
    lake.run()
    assert sorted(lake.rows("id")) == [0, 1, 2, 4]
    assert child_ids(lake) == [0, 0, 1, 1, 2, 2]


def test_keep_leaves_it_so_and_says_it(lake):
    lake.plan["on_restore"] = "keep"
    back(items(lake), batches=1)
    lake.put("9.json", lines({"id": 9, "items": [{"sku": "c"}]}))
    summary = lake.run()
    assert "a RESTORE took the rows of batch 3 out of items; on_restore: keep leaves it so" in summary.notes
    assert child_ids(lake) == [0, 0, 1, 1, 9]
    assert not [note for note in lake.run().notes if "RESTORE" in note]
