"""Every element of a list is a row of the child table once, with its parent's key and its place."""

from __future__ import annotations

import pytest

from tests.sample_lake import read
from tests.unit.importer.small_lake import SmallLake, lines


@pytest.fixture
def lake(tmp_path):
    return SmallLake(
        tmp_path,
        step={"unnest": {"items": {"from": "items", "key": ["id"]}}},
        more_tables={"items": {"uri": str(tmp_path / "silver" / "items")}},
    )


def children(lake):
    rows = read(lake.workflow().tables["items"].uri).to_pylist()
    return sorted(rows, key=lambda row: (str(row["id"]), row["position"]))


def test_elements_become_rows_with_key_and_position(lake):
    lake.put(
        "a.json",
        lines(
            {"id": 1, "items": [{"sku": "x", "qty": 2}, {"sku": "y", "qty": 3}]},
            {"id": 2, "items": []},
            {"id": 3, "items": None},
            {"id": 4},
            {"id": 5, "items": [None, {"sku": "z"}]},
        ),
    )
    lake.run()
    assert sorted(lake.rows("id")) == [1, 2, 3, 4, 5]
    assert "items" not in lake.schema()
    assert children(lake) == [
        {"id": 1, "position": 0, "qty": 2, "sku": "x"},
        {"id": 1, "position": 1, "qty": 3, "sku": "y"},
        {"id": 5, "position": 0, "qty": None, "sku": None},
        {"id": 5, "position": 1, "qty": None, "sku": "z"},
    ]
