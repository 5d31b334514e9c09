"""An overwrite of a part of a table leaves every other row as it is, in one commit.

Crash points: ``before_take_out``, ``after_take_out``, ``before_commit``, ``commit_reply``, ``after_commit``.
"""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lakeray.delta import rewrite
from lakeray.delta.files import data_files
from lakeray.delta.table import require_table
from lakeray.errors import ImportFailed, TransformError
from lakeray.runtime.upkeep import TableOf
from tests.sample_lake import SampleLake, read
from tests.unit.importer.small_lake import SmallLake, lines


def lake_of(tmp_path, *, plan, partition_by=("day",)):
    return SmallLake(tmp_path, plan={"mode": "overwrite", **plan}, table={"partition_by": list(partition_by)})


def held(lake):
    return sorted((row["day"], row["id"]) for row in lake.rows("day", "id"))


def test_dynamic_replaces_the_partitions_that_have_rows_now(tmp_path):
    lake = lake_of(tmp_path, plan={"partitions": "dynamic"})
    lake.put("a.json", lines({"day": "1", "id": 1}, {"day": "2", "id": 2}, {"day": None, "id": 3}))
    lake.run()
    (lake.raw / "a.json").unlink()
    lake.put("b.json", lines({"day": "2", "id": 20}, {"day": "3", "id": 30}))
    version = require_table(lake.table_uri).version
    lake.run()
    rows = sorted((row["day"] or "", row["id"]) for row in lake.rows("day", "id"))
    assert rows == [("", 3), ("1", 1), ("2", 20), ("3", 30)]
    assert require_table(lake.table_uri).version == version + 1
    assert lake.run().batches == []


def test_dynamic_needs_partitions(tmp_path):
    lake = lake_of(tmp_path, plan={"partitions": "dynamic"}, partition_by=())
    lake.put("a.json", lines({"id": 1}))
    with pytest.raises(ImportFailed, match="has no partitions"):
        lake.run()


@pytest.mark.parametrize("partition_by", [("day",), ()])
def test_a_condition_replaces_its_rows_alone(tmp_path, partition_by):
    lake = lake_of(tmp_path, plan={"replace_where": "day >= '2'"}, partition_by=partition_by)
    write_deltalake(
        lake.table_uri,
        pa.table({"day": ["1", "1", "2", "3", None], "id": pa.array([1, 2, 3, 4, 5], pa.int64())}),
        partition_by=list(partition_by) or None,
    )
    lake.put("a.json", lines({"day": "3", "id": 30}, {"day": "4", "id": 40}, {"day": "1", "id": 10}))
    summary = lake.run()
    assert held_or_null(lake) == [("", 5), ("1", 1), ("1", 2), ("3", 30), ("4", 40)]
    assert summary.rows.quarantined == 1
    (refused,) = lake.quarantined("rule", "record")
    assert refused["rule"] == "constraint:replace_where"


def held_or_null(lake):
    return sorted((row["day"] or "", row["id"]) for row in lake.rows("day", "id"))


def test_a_condition_over_partitions_touches_no_other_file(tmp_path):
    lake = lake_of(tmp_path, plan={"replace_where": "day = '2'"})
    write_deltalake(lake.table_uri, pa.table({"day": ["1", "2"], "id": [1, 2]}), partition_by=["day"])
    before = {file.path for file in data_files(require_table(lake.table_uri))}
    lake.put("a.json", lines({"day": "2", "id": 20}))
    lake.run()
    after = {file.path for file in data_files(require_table(lake.table_uri))}
    assert len(before & after) == 1
    assert held(lake) == [("1", 1), ("2", 20)]


def test_a_condition_over_no_column_of_the_table_is_refused(tmp_path):
    lake = lake_of(tmp_path, plan={"replace_where": "dya = '2'"})
    lake.put("a.json", lines({"day": "2", "id": 20}))
    with pytest.raises(TransformError, match="dya"):
        lake.run()


def test_rows_that_another_appends_meanwhile_are_judged_too(tmp_path, monkeypatch):
    lake = lake_of(tmp_path, plan={"replace_where": "day = '2'"}, partition_by=())
    lake.put("a.json", lines({"day": "2", "id": 20}))
    lake.run()
    done = []

    def failpoint(name):
        if name == "before_commit" and not done:
            done.append(1)
            write_deltalake(lake.table_uri, pa.table({"day": ["1", "2"], "id": [1, 2]}), mode="append")

    monkeypatch.setattr(rewrite, "failpoint", failpoint)
    lake.put("a.json", lines({"day": "2", "id": 21}))
    lake.run()
    assert done
    assert held(lake) == [("1", 1), ("2", 21)]
    assert lake.stray_files() == set()


def test_a_compaction_harms_nothing(tmp_path):
    lake = lake_of(tmp_path, plan={"replace_where": "id < 10"}, partition_by=())
    write_deltalake(lake.table_uri, pa.table({"day": ["1", "2"], "id": [1, 20]}))
    lake.put("a.json", lines({"day": "2", "id": 2}))
    lake.run()
    TableOf(lake.table_uri).optimize()
    lake.put("a.json", lines({"day": "2", "id": 3}))
    lake.run()
    assert held(lake) == [("2", 3), ("2", 20)]


def test_a_change_feed_tells_it_row_by_row(tmp_path):
    lake = lake_of(tmp_path, plan={"replace_where": "id < 10"}, partition_by=())
    lake.table = {"change_data_feed": True}
    write_deltalake(lake.table_uri, pa.table({"day": ["1", "2"], "id": [1, 20]}))
    lake.put("a.json", lines({"day": "2", "id": 2}))
    lake.run()
    version = require_table(lake.table_uri).version
    feed = pa.table(DeltaTable(lake.table_uri).load_cdf(starting_version=version).read_all())
    assert sorted(zip(feed["_change_type"].to_pylist(), feed["id"].to_pylist(), strict=True)) == [
        ("delete", 1),
        ("insert", 2),
    ]


@pytest.mark.parametrize("name", ["before_take_out", "after_take_out", "before_commit", "commit_reply", "after_commit"])
def test_killed(tmp_path, name):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, mode="overwrite", plan="replace_where: id > 0")
    lake.add("00.json")
    lake.add("01.json")
    lake.import_well()
    write_deltalake(
        lake.table_uri, pa.table({"id": pa.array([-1, -2], pa.int64())}), mode="append", schema_mode="merge"
    )
    lake.add("01.json")
    lake.add("02.json")
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.run_to_the_end()
    assert sorted(read(lake.table_uri)["id"].to_pylist()) == sorted([-1, -2, *lake.ids.elements()])
