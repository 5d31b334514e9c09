"""Batches are bounded, sources may be empty, absent or unreadable, and every format comes through one import."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from lakeray.errors import ImportFailed, LakerayError
from lakeray.importer.manifest import load_manifest
from tests.unit.importer.small_lake import SmallLake, balance, lines


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path)


def test_bounded_by_objects(lake):
    lake.plan = {"batch": {"max_objects": 3}}
    for n in range(8):
        lake.put(f"{n}.json", lines({"id": n}))
    summary = lake.run()
    assert [(batch.number, batch.objects) for batch in summary.batches] == [(1, 3), (2, 3), (3, 2)]
    assert sorted(lake.rows("id")) == list(range(8))
    assert sorted(lake.ledger_rows()["batch"].to_pylist()) == [1, 1, 1, 2, 2, 2, 3, 3]


def test_bounded_by_bytes_and_one_object_above(lake):
    lake.plan = {"batch": {"max_bytes": "100B"}}
    lake.put("a.json", lines({"id": 1}))
    lake.put("b.json", lines(*({"id": n} for n in range(100))))
    lake.put("c.json", lines({"id": 2}))
    lake.put("d.json", lines({"id": 3}))
    assert [batch.objects for batch in lake.run().batches] == [1, 1, 2]


def test_batch_numbers_go_on(lake):
    for n in range(3):
        lake.put(f"{n}.json", lines({"id": n}))
        assert [batch.number for batch in lake.run().batches] == [n + 1]
    identity = lake.ledger().identity
    assert [len(load_manifest(identity, n).objects) for n in (1, 2, 3)] == [1, 1, 1]
    assert load_manifest(identity, 4) is None


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_source_makes_no_table(lake, there):
    if there:
        lake.raw.mkdir()
        summary = lake.run()
        assert (summary.listed, summary.batches) == (0, [])
    else:
        with pytest.raises(LakerayError) as error:
            lake.run()
        assert error.value.code == "object_not_found"
        assert str(lake.raw) in str(error.value)
    assert not Path(lake.table_uri).exists()


def test_the_table_is_made_in_folders_that_are_not_there(lake):
    lake.table = {"uri": str(lake.folder / "deep" / "deeper" / "t")}
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    assert Path(lake.table["uri"], "_delta_log").is_dir()


def test_only_malformed_records_at_first(lake):
    lake.put("a.json", b"{{{\n]\n")
    assert balance(lake.run()) == {"read": 2, "quarantined": 2}
    assert lake.outcomes() == {"a.json": "partly_loaded"}
    lake.put("b.json", lines({"id": 1}))
    lake.run()
    assert lake.rows("id") == [1]


@pytest.mark.parametrize("evolution", ["rescue", "fail", "ignore"])
def test_a_table_without_columns_yet_takes_them_whatever_evolution_says(lake, evolution):
    lake.source = {"evolution": evolution}
    lake.put("a.json", b"{{{\n")
    lake.run()
    lake.put("b.json", lines({"id": 1, "x": "a"}))
    lake.run()
    assert lake.rows("id", "x") == [{"id": 1, "x": "a"}]


def test_only_corrupt_objects_at_first(lake):
    lake.source = {"format": "parquet"}
    lake.put("a.parquet", b"PAR1 nonsense PAR1")
    lake.run()
    assert lake.outcomes() == {"a.parquet": "failed"}
    assert lake.rows() == []
    pq.write_table(pa.table({"id": [1]}), lake.raw / "b.parquet")
    lake.run()
    assert lake.rows("id") == [1]
    assert lake.outcomes() == {"a.parquet": "failed", "b.parquet": "loaded"}


@pytest.mark.parametrize("more", ["where", "select", "partition_by"])
def test_columns_that_no_readable_object_has_shown_are_asked_for(lake, more):
    """Without a column there is no table to record the objects in: the import says why, and goes on when it can."""
    lake.put("a.json", b"{{{\n")
    if more == "partition_by":
        lake.table = {"partition_by": ["day"]}
    else:
        lake.step = {"where": "day > 'a'"} if more == "where" else {"select": {"d": "upper(day)"}}
    with pytest.raises(ImportFailed, match="no object of the sample has a record that can be read") as error:
        lake.run()
    assert "schema_hints" in (error.value.hint or "")
    lake.source = {"schema_hints": {"day": "string", "id": "int64"}}
    lake.run()
    assert lake.outcomes() == {"a.json": "partly_loaded"}
    lake.put("b.json", lines({"day": "b"}))
    lake.run()
    assert lake.rows("day") == ["b"]


@pytest.mark.parametrize("kind", ["json", "csv", "tsv", "text", "binary", "parquet", "avro", "orc", "arrow"])
def test_objects_of_no_bytes(lake, kind):
    lake.source = {"format": kind, "max_tries": 1}
    lake.put(f"a.{kind}", b"")
    lake.run()
    columnar = kind in ("parquet", "avro", "orc", "arrow")
    assert lake.outcomes() == {f"a.{kind}": "poison" if columnar else "loaded"}
    assert len(lake.rows()) == (kind == "binary")
    assert lake.run().batches == []


def _avro() -> bytes:
    out = io.BytesIO()
    fields = [{"name": "id", "type": "long"}, {"name": "name", "type": ["null", "string"]}]
    fastavro.writer(
        out, {"type": "record", "name": "R", "fields": fields}, [{"id": 1, "name": "ä"}, {"id": 2, "name": None}]
    )
    return out.getvalue()


def _columnar(kind: str) -> bytes:
    table = pa.table({"id": pa.array([1, 2], pa.int64()), "name": ["ä", None]})
    out = pa.BufferOutputStream()
    if kind == "parquet":
        pq.write_table(table, out)
    elif kind == "orc":
        orc.write_table(table, out)
    else:
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue().to_pybytes()


FORMATS = {
    "json": lambda: lines({"id": 1, "name": "ä"}, {"id": 2, "name": None}),
    "csv": "id,name\n1,ä\n2,\n".encode,
    "tsv": "id\tname\n1\tä\n2\t\n".encode,
    "parquet": partial(_columnar, "parquet"),
    "orc": partial(_columnar, "orc"),
    "arrow": partial(_columnar, "arrow"),
    "avro": _avro,
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_rows(lake, kind):
    lake.source = {"format": kind}
    lake.step = {
        "select": {"twice": "id * 2"},
        "expect": {"named": {"sql": "name IS NOT NULL", "on_violation": "warn"}},
    }
    for day in (1, 2):
        lake.put(f"day=2024-01-0{day}/a.{kind}", FORMATS[kind]())
    summary = lake.run()
    rows = sorted(lake.rows("id", "name", "twice", "day"), key=lambda row: (row["day"], row["id"]))
    assert [(row["id"], row["name"], row["twice"], row["day"].isoformat()) for row in rows] == [
        (1, "ä", 2, "2024-01-01"),
        (2, None, 4, "2024-01-01"),
        (1, "ä", 2, "2024-01-02"),
        (2, None, 4, "2024-01-02"),
    ]
    assert balance(summary) == {"read": 4, "written": 4}
    assert summary.expectations["named"].violated == 2
    assert lake.run().batches == []


def test_text(lake):
    lake.source = {"format": "text"}
    lake.put("a.txt", b"one\ntwo\n\xff\n")
    lake.run()
    assert [row for row in lake.rows() if "two" in row.values()]
    assert lake.quarantined("row") == [3]


def test_binary(lake):
    lake.source = {"format": "binary"}
    lake.put("a.bin", bytes(range(256)))
    lake.run()
    (row,) = lake.rows()
    assert bytes(range(256)) in row.values()


def test_the_sum_of_a_run_is_the_sum_of_its_batches(lake):
    lake.plan = {"batch": {"max_objects": 2}}
    for n in range(5):
        lake.put(f"{n}.json", lines({"id": n}, b"bad"))
    summary = lake.run()
    assert balance(summary) == {"read": 10, "written": 5, "quarantined": 5}
    assert summary.objects == {"partly_loaded": 5}
    assert summary.bytes_read == sum(path.stat().st_size for path in lake.raw.iterdir())
    assert summary.listed == 5


@pytest.mark.parametrize(
    ("said", "codec"),
    [
        ({}, "ZSTD"),
        ({"zstd_level": 9}, "ZSTD"),
        ({"compression": {"codec": "gzip", "level": 9}}, "GZIP"),
        ({"compression": "snappy"}, "SNAPPY"),
        ({"compression": "lz4"}, "LZ4"),
        ({"compression": "none"}, "UNCOMPRESSED"),
    ],
)
def test_data_files_are_compressed_as_the_table_says(lake, said, codec):
    lake.table = said
    lake.put("a.json", lines(*({"name": f"customer {n}"} for n in range(1000))))
    lake.run()
    (file,) = Path(lake.table_uri).glob("*.parquet")
    assert pq.read_metadata(file).row_group(0).column(0).compression == codec
    assert pl.read_delta(lake.table_uri)["name"].to_list() == [f"customer {n}" for n in range(1000)]
