"""Importing a Delta table's versions or its change feed, killed at any named point, loses and repeats nothing.

Crash points: every name in ``EVERY_IMPORT`` of ``lakeray.failpoints``, in the second batch of three; of versions those
of ``NEW_COLUMNS``, of the feed, which is merged, those of ``CHANGES`` as well. The table goes on, and is compacted,
between the kill and the run after it. What must be there is counted from the table that is the source.
"""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lakeray.failpoints import CHANGES, EVERY_IMPORT, NEW_COLUMNS
from tests.commands import python
from tests.unit.importer.small_lake import SmallLake
from tests.unit.importer.test_delta_source import FEED, UPSERT, append, lake_of

IMPORT = """
import json, sys
from pathlib import Path
from tests.commands import python
from tests.unit.importer.small_lake import SmallLake
SmallLake(Path(sys.argv[1]), **json.loads(sys.argv[2])).run()
"""
STEP = {"expect": {"small": {"sql": "id < 1000", "on_violation": "quarantine"}}}
ONE_BY_ONE = {"batch": {"max_objects": 1}}


@pytest.fixture
def origin(tmp_path):
    return str(tmp_path / "origin")


def killed_at(lake: SmallLake, name: str, count: int) -> None:
    """Run in another process that ends at the failpoint."""
    parts = json.dumps({"source": lake.source, "plan": lake.plan, "step": lake.step})
    done = python(IMPORT, str(lake.folder), parts, LAKERAY_FAILPOINTS=f"{name}=kill:{count}")
    assert done.returncode == -9, done.stdout + done.stderr


def check_accounts(lake: SmallLake) -> None:
    """Each version has one line in the ledger, and no more came out of it than went in."""
    versions = sorted(lake.ledger_rows()["uri"].to_pylist())
    assert len(versions) == len(set(versions)) == DeltaTable(lake.source["uri"]).version() + 1
    assert lake.run().batches == []


@pytest.mark.parametrize("name", [*EVERY_IMPORT, *NEW_COLUMNS])
def test_versions_come_once(tmp_path, origin, name):
    append(origin, 1, 2, 1001)
    lake = lake_of(tmp_path, origin, plan=ONE_BY_ONE, step=STEP)
    if name in NEW_COLUMNS:
        lake.run()
    write_deltalake(origin, pa.table({"id": [3, 4, 1002], "x": ["c", "d", "e"]}), mode="append", schema_mode="merge")
    append(origin, 5, 1003, schema_mode="merge")
    killed_at(lake, name, 1 if name in NEW_COLUMNS else 2)
    append(origin, 6, schema_mode="merge")
    DeltaTable(origin).optimize.compact()
    lake.run()
    expected = [(1, None), (2, None), (3, "c"), (4, "d"), (5, None), (6, None)]
    assert sorted((row["id"], row["x"]) for row in lake.rows("id", "x")) == expected
    assert sorted(json.loads(text)["id"] for text in lake.quarantined("record")) == [1001, 1002, 1003]
    check_accounts(lake)


@pytest.mark.parametrize("name", [*EVERY_IMPORT, *CHANGES])
def test_a_merged_change_feed_ends_as_its_table(tmp_path, origin, name):
    rows = pa.table({"id": pa.array([1, 2, 3, 1001], pa.int64()), "v": ["a", "b", "c", "refused"]})
    write_deltalake(origin, rows, configuration=FEED)
    DeltaTable(origin).update({"v": "'B'"}, predicate="id IN (2, 1001)")
    DeltaTable(origin).delete("id = 3")
    lake = lake_of(tmp_path, origin, plan={**UPSERT, **ONE_BY_ONE}, step=STEP)
    killed_at(lake, name, 2)
    write_deltalake(origin, pa.table({"id": pa.array([3, 4], pa.int64()), "v": ["again", "d"]}), mode="append")
    DeltaTable(origin).optimize.compact()
    lake.run()
    left = [row for row in pa.table(DeltaTable(origin).to_pyarrow_table()).to_pylist() if row["id"] < 1000]
    assert sorted(lake.rows("id", "v"), key=lambda row: row["id"]) == sorted(left, key=lambda row: row["id"])
    assert sorted(json.loads(text)["v"] for text in lake.quarantined("record")) == ["B", "refused"]
    check_accounts(lake)
