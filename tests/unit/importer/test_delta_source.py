"""The versions of a Delta table are imported each exactly once.

A version is an object like any other: what kills every import is in ``test_failpoints`` and is not repeated here.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lakeray.errors import ImportFailed, UnsupportedTable
from lakeray.importer.discovery.look import discover, plan
from lakeray.importer.discovery.versions import entry_uri
from lakeray.importer.executor import InlineExecutor
from lakeray.spec.load import WorkflowFileError
from tests.unit.importer.small_lake import SmallLake
from tests.unit.importer.test_taking_out import ids

FEED = {"delta.enableChangeDataFeed": "true"}
UPSERT = {
    "mode": "merge",
    "key": ["id"],
    "sequence": "_commit_version",
    "operation": {"column": "_change_type", "insert": ["insert"], "update": ["update_postimage"], "delete": ["delete"]},
    "leave_out": ["_commit_timestamp"],
}


@pytest.fixture
def origin(tmp_path):
    return str(tmp_path / "origin")


def lake_of(tmp_path, origin, *, delta=None, **more):
    source = {"uri": origin, "format": "delta", **({"delta": delta} if delta else {})}
    return SmallLake(tmp_path, source=source, **more)


def append(origin, *numbers, **more):
    write_deltalake(origin, pa.table({"id": pa.array(numbers, pa.int64())}), mode="append", **more)


def test_each_version_is_an_object_and_comes_once(tmp_path, origin):
    append(origin, 1, 2)
    append(origin, 3)
    lake = lake_of(tmp_path, origin)
    summary = lake.run()
    assert ids(lake) == [1, 2, 3]
    assert summary.objects == {"loaded": 2}
    append(origin, 4)
    assert lake.run().objects == {"loaded": 1}
    assert ids(lake) == [1, 2, 3, 4]
    assert lake.run().batches == []
    assert [row["uri"] for row in lake.ledger().rows("batch = 2").to_pylist()] == [entry_uri(origin, 2)]


def test_values_come_as_they_are_partitions_and_nested_ones_too(tmp_path, origin):
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "day": pa.array([date(2024, 1, 2), None], pa.date32()),
            "at": pa.array([datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)] * 2, pa.timestamp("us", tz="UTC")),
            "p": pa.array([1.5, float("-inf")], pa.float64()),
            "deep": pa.array([{"a": [1, 2]}, None], pa.struct([("a", pa.list_(pa.int64()))])),
        }
    )
    write_deltalake(origin, table, partition_by=["day", "p"])
    lake = lake_of(tmp_path, origin)
    lake.run()
    found = {row["id"]: row for row in lake.rows()}
    assert found == {row["id"]: row for row in table.to_pylist()}


def test_a_column_that_comes_later_comes_along(tmp_path, origin):
    append(origin, 1)
    write_deltalake(origin, pa.table({"id": [2], "x": ["y"]}), mode="append", schema_mode="merge")
    lake = lake_of(tmp_path, origin)
    lake.run()
    assert sorted((row["id"], row["x"]) for row in lake.rows("id", "x")) == [(1, None), (2, "y")]


def test_compactions_bring_nothing_twice(tmp_path, origin):
    append(origin, 1)
    append(origin, 2)
    lake = lake_of(tmp_path, origin)
    lake.run()
    DeltaTable(origin).optimize.compact()
    append(origin, 3)
    lake.run()
    assert ids(lake) == [1, 2, 3]


def test_starting_version_leaves_out_what_was_before(tmp_path, origin):
    append(origin, 1)
    append(origin, 2)
    append(origin, 3)
    lake = lake_of(tmp_path, origin, delta={"starting_version": 1})
    lake.run()
    assert ids(lake) == [2, 3]


def test_removed_rows_stop_the_import_until_somebody_says_what_to_do(tmp_path, origin):
    append(origin, 1, 2)
    lake = lake_of(tmp_path, origin)
    lake.run()
    DeltaTable(origin).delete("id = 1")
    append(origin, 3)
    with pytest.raises(ImportFailed, match=r"version 1 of .* removes rows") as caught:
        lake.run()
    assert "change_commits" in caught.value.hint
    assert ids(lake) == [1, 2]
    lake.source["delta"] = {"change_commits": "skip"}
    lake.run()
    assert ids(lake) == [1, 2, 3]


def test_append_reads_the_new_files_of_such_a_version_whole(tmp_path, origin):
    append(origin, 1, 2)
    lake = lake_of(tmp_path, origin, delta={"change_commits": "append"})
    lake.run()
    DeltaTable(origin).update({"id": "20"}, predicate="id = 2")
    lake.run()
    assert ids(lake) == [1, 1, 2, 20]


def test_a_change_feed_comes_as_changes(tmp_path, origin):
    append(origin, 1, 2, 3, configuration=FEED)
    DeltaTable(origin).update({"id": "20"}, predicate="id = 2")
    DeltaTable(origin).delete("id = 3")
    write_deltalake(origin, pa.table({"id": [7]}), mode="overwrite")
    lake = lake_of(tmp_path, origin)
    lake.run()
    found = sorted((row["_commit_version"], row["_change_type"], row["id"]) for row in lake.rows())
    assert found == [
        (0, "insert", 1), (0, "insert", 2), (0, "insert", 3),
        (1, "update_postimage", 20),
        (2, "delete", 3),
        (3, "delete", 1), (3, "delete", 20), (3, "insert", 7),
    ]  # fmt: skip
    told = {entry["version"]: entry["timestamp"] for entry in DeltaTable(origin).history()}
    for row in lake.rows():
        assert row["_commit_timestamp"].timestamp() * 1000 == pytest.approx(told[row["_commit_version"]])


def test_a_merge_of_the_feed_keeps_a_copy_in_step(tmp_path, origin):
    rows = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "v": ["a", "b", "c"]})
    write_deltalake(origin, rows, configuration=FEED)
    lake = lake_of(tmp_path, origin, plan=UPSERT)
    lake.run()
    for work in (
        lambda table: table.update({"v": "'B'"}, predicate="id = 2"),
        lambda table: table.delete("id = 3"),
        lambda table: write_deltalake(table, pa.table({"id": [4], "v": ["d"]}), mode="append"),
        lambda table: table.optimize.compact(),
        lambda table: table.update({"v": "'D'"}, predicate="id = 4"),
    ):
        work(DeltaTable(origin))
        lake.run()
        expected = pa.table(DeltaTable(origin).to_pyarrow_table()).sort_by("id").to_pylist()
        assert sorted(lake.rows("id", "v"), key=lambda row: row["id"]) == expected


def test_our_own_tables_feed_each_other(tmp_path, origin):
    """What one import writes with provenance another reads, without the first one's bookkeeping."""
    first = SmallLake(
        tmp_path / "one",
        source={"changed_objects": "replace", "deleted_objects": "delete", "deletion_guard": 1.0},
        table={"change_data_feed": True},
    )
    first.put("a.json", b'{"id": 1, "v": "a"}\n{"id": 2, "v": "b"}\n')
    first.put("b.json", b'{"id": 3, "v": "c"}\n')
    first.run()
    second = lake_of(tmp_path / "two", first.table_uri, plan=UPSERT)
    second.run()
    first.put("a.json", b'{"id": 2, "v": "B"}\n')
    (first.raw / "b.json").unlink()
    first.put("c.json", b'{"id": 4, "v": "d"}\n')
    first.run()
    second.run()
    expected = sorted((row["id"], row["v"]) for row in first.rows("id", "v"))
    assert expected == [(2, "B"), (4, "d")]
    assert sorted((row["id"], row["v"]) for row in second.rows("id", "v")) == expected
    assert not [name for name in second.schema() if name.startswith("_lakeray")]
    assert "_rescued_data" not in second.schema()


def test_a_snapshot_overwrites_with_the_newest_version(tmp_path, origin):
    append(origin, 1, 2)
    lake = lake_of(tmp_path, origin, delta={"read": "snapshot"}, plan={"mode": "overwrite"})
    lake.run()
    DeltaTable(origin).delete("id = 1")
    append(origin, 3)
    lake.run()
    assert ids(lake) == [2, 3]
    assert lake.run().batches == []


def test_a_log_that_was_cleaned_up_is_noticed_where_it_matters(tmp_path, origin):
    for number in range(4):
        append(origin, number)
    lake = lake_of(tmp_path, origin)
    lake.run()
    append(origin, 4)
    DeltaTable(origin).create_checkpoint()
    for version in range(3):
        Path(entry_uri(origin, version)).unlink()
    summary = lake.run()  # 3 is known, 4 is there
    assert (ids(lake), summary.deleted) == ([0, 1, 2, 3, 4], 0)
    append(origin, 5)
    append(origin, 6)
    DeltaTable(origin).create_checkpoint()
    for version in range(3, 6):
        Path(entry_uri(origin, version)).unlink()
    with pytest.raises(ImportFailed, match="begins at version 6"):
        lake.run()
    lake.source["delta"] = {"starting_version": 6}
    lake.run()
    assert ids(lake) == [0, 1, 2, 3, 4, 6]


def test_a_version_whose_files_were_vacuumed_is_said(tmp_path, origin):
    append(origin, 1)
    append(origin, 2)
    DeltaTable(origin).optimize.compact()
    DeltaTable(origin).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(ImportFailed, match="is gone"):
        lake_of(tmp_path, origin).run()


def test_tables_that_hide_rows_or_names_are_refused(tmp_path, origin):
    append(origin, 1)
    entry = Path(entry_uri(origin, 0))
    lines = [json.loads(line) for line in entry.read_text().splitlines()]
    for action in lines:
        if "metaData" in action:
            action["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
    entry.write_text("\n".join(json.dumps(action) for action in lines))
    with pytest.raises(UnsupportedTable, match="maps its columns"):
        lake_of(tmp_path, origin).run()


def test_plan_and_discover_count_versions(tmp_path, origin):
    append(origin, 1)
    append(origin, 2)
    lake = lake_of(tmp_path, origin)
    assert (plan(lake.context()).new, plan(lake.context()).listed) == (2, 2)
    lake.run()
    append(origin, 3)
    assert (plan(lake.context()).new, plan(lake.context()).known) == (1, 2)
    context = lake.context()
    found = discover("s", context.source, ledger=lake.ledger(), executor=InlineExecutor(), now=context.now)
    assert (found.objects, found.new, found.columns) == (3, 1, {"id": "int64"})


def test_a_step_cannot_feed_itself(tmp_path):
    lake = SmallLake(tmp_path)
    lake.source = {"uri": lake.table_uri, "format": "delta"}
    with pytest.raises(WorkflowFileError, match="its own source"):
        lake.workflow()
    lake.source = {"uri": str(tmp_path / "o"), "format": "delta", "deleted_objects": "delete"}
    with pytest.raises(WorkflowFileError, match="versions"):
        lake.workflow()
