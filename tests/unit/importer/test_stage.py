"""An object's rows come into files all or not at all, and memory does not grow with the object."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakeray.delta.parquet import WriteOptions
from lakeray.delta.writer import StagedWriter
from lakeray.importer.stage import Stage
from tests.unit.importer.small_lake import SmallLake, lines

NARROW, WIDE = pa.schema([("id", pa.int64())]), pa.schema([("id", pa.int64()), ("x", pa.string())])


def rows(first, count, schema=NARROW):
    columns = {"id": range(first, first + count), "x": ["x"] * count}
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)


@pytest.fixture
def stage(tmp_path):
    def make(schema, suffix):
        options = WriteOptions(row_group_bytes=1024)
        return StagedWriter(str(tmp_path), schema=schema, partition_by=[], prefix=f"part-{suffix}", options=options)

    return Stage(make, buffer_bytes=4096)


def stored(folder, files):
    import pyarrow.parquet as pq

    return sorted(value for file in files for value in pq.read_table(folder / file.path)["id"].to_pylist())


def load(stage, *tables, keep=True):
    stage.begin()
    for table in tables:
        stage.add(table)
    stage.keep() if keep else stage.drop()


def on_disk(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_small_objects_share_a_file(stage, tmp_path):
    load(stage, rows(0, 3))
    load(stage, rows(3, 3))
    files = stage.close()
    assert len(files) == 1
    assert stored(tmp_path, files) == list(range(6))


def test_a_dropped_object_leaves_nothing(stage, tmp_path):
    load(stage, rows(0, 3))
    load(stage, rows(3, 3), rows(6, 3), keep=False)
    load(stage, rows(9, 1))
    assert stored(tmp_path, stage.close()) == [0, 1, 2, 9]


def test_an_object_above_the_buffer_has_files_of_its_own(stage, tmp_path):
    load(stage, rows(0, 3))
    load(stage, *(rows(1000 * n, 1000) for n in range(1, 4)))
    load(stage, rows(4000, 1))
    files = stage.close()
    assert len(files) == 2
    assert stored(tmp_path, files) == [*range(3), *range(1000, 4001)]
    assert {file.path for file in files} == on_disk(tmp_path)


def test_the_files_of_a_large_object_go_when_it_turns_out_bad(stage, tmp_path):
    load(stage, rows(0, 3))
    load(stage, *(rows(1000 * n, 1000) for n in range(1, 4)), rows(0, 900, WIDE), keep=False)
    files = stage.close()
    assert stored(tmp_path, files) == [0, 1, 2]
    assert {file.path for file in files} == on_disk(tmp_path)


def test_files_begin_anew_where_the_schema_grows(stage, tmp_path):
    load(stage, rows(0, 3), rows(3, 3, WIDE))
    load(stage, rows(6, 1, WIDE))
    files = stage.close()
    assert sorted(file.rows for file in files) == [3, 4]


def test_an_object_without_rows_makes_no_file(stage, tmp_path):
    load(stage, rows(0, 0))
    load(stage)
    assert stage.close() == []
    assert on_disk(tmp_path) == set()


def test_all_goes_when_the_task_is_in_vain(stage, tmp_path):
    load(stage, *(rows(1000 * n, 1000) for n in range(3)))
    load(stage, rows(0, 100))
    load(stage, rows(0, 100, WIDE))
    stage.begin()
    stage.add(rows(5000, 1000))
    stage.discard()
    assert on_disk(tmp_path) == set()


def test_a_batch_that_fails_leaves_no_files(tmp_path):
    """Large objects, so that every one has files of its own before the expectation is violated."""
    strict = {"expect": {"small": {"sql": "id < 200000", "on_violation": "fail"}}}
    lake = SmallLake(tmp_path, step=strict, slots=2, memory=2**20)
    for name in range(4):
        text = "y" * 200
        lake.put(f"{name}.json", lines(*({"id": name * 1000 + n, "t": text} for n in range(2000))))
    lake.put("9.json", lines({"id": 200000, "t": ""}))
    with pytest.raises(Exception, match="small"):
        lake.run()
    assert lake.stray_files() == set()
    lake.step = {}
    lake.run()
    assert len(lake.rows("id")) == 8001
    assert lake.stray_files() == set()
