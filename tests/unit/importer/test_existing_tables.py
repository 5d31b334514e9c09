"""What a table demands of its rows is kept by the workers; what lakeray cannot keep is refused at once."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import deltalake
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lakeray.errors import LakerayError, UnsupportedTable
from tests.unit.importer.small_lake import SmallLake, balance, lines


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path)


def refused(lake):
    return sorted((row["row"], row["rule"]) for row in lake.quarantined("row", "rule"))


def test_not_null(lake):
    fields = [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("place", pa.struct([pa.field("city", pa.string(), nullable=False)])),
    ]
    DeltaTable.create(lake.table_uri, schema=pa.schema(fields))
    good = {"id": 1, "place": {"city": "Basel"}}
    lake.put(
        "a.json",
        lines(good, {"id": None, "place": good["place"]}, {"id": 2, "place": {"city": None}}, {"place": good["place"]}),
    )
    summary = lake.run()
    assert lake.rows("id") == [1]
    assert refused(lake) == [
        (2, "constraint:id is not null"),
        (3, "constraint:place.city is not null"),
        (4, "constraint:id is not null"),
    ]
    assert balance(summary) == {"read": 4, "written": 1, "quarantined": 3}
    assert DeltaTable(lake.table_uri).to_pyarrow_table().num_rows == 1, "the table can still be read"


def test_a_misfit_in_a_not_null_column_is_refused_and_not_rescued(lake):
    DeltaTable.create(lake.table_uri, schema=pa.schema([pa.field("id", pa.int64(), nullable=False)]))
    lake.put("a.json", lines({"id": "x"}, {"id": 1}))
    lake.run()
    assert lake.rows("id") == [1]
    assert [row["record"] for row in lake.quarantined()] == ['{"id":null,"_rescued_data":"{\\"id\\":\\"x\\"}"}']


def test_check_constraints(lake):
    table = DeltaTable.create(lake.table_uri, schema=pa.schema([("id", pa.int64()), ("amount", pa.float64())]))
    table.alter.add_constraint({"positive": "amount > 0"})
    lake.put("a.json", lines({"id": 1, "amount": 1.5}, {"id": 2, "amount": -1.5}, {"id": 3, "amount": None}))
    lake.run()
    assert lake.rows("id") == [1, 3], "null meets a CHECK, as in SQL"
    assert refused(lake) == [(2, "constraint:positive")]


def generated(uri: str) -> None:
    """A table with a generated column, as Spark makes it (delta-rs cannot)."""
    folder = Path(uri) / "_delta_log"
    folder.mkdir(parents=True)
    columns = [
        {"name": "id", "type": "long", "nullable": True, "metadata": {}},
        {"name": "at", "type": "timestamp", "nullable": True, "metadata": {}},
        {
            "name": "day",
            "type": "date",
            "nullable": True,
            "metadata": {"delta.generationExpression": "CAST(at AS DATE)"},
        },
    ]
    actions = [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}},
        {
            "metaData": {
                "id": "0d3b7a52-7c1b-4c9e-9a55-000000000001",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps({"type": "struct", "fields": columns}),
                "partitionColumns": [],
                "configuration": {},
                "createdTime": 0,
            }
        },
    ]
    (folder / f"{0:020d}.json").write_text("\n".join(map(json.dumps, actions)))


def test_generated_columns_are_checked(lake):
    generated(lake.table_uri)
    lake.put(
        "a.json",
        lines(
            {"id": 1, "at": "2024-01-02T03:04:05Z", "day": "2024-01-02"},
            {"id": 2, "at": "2024-01-02T00:00:00Z", "day": "2024-01-03"},
        ),
    )
    lake.run()
    assert lake.rows("id", "day") == [{"id": 1, "day": date(2024, 1, 2)}]
    assert refused(lake) == [(2, "constraint:day is generated")]


def test_a_generated_column_can_be_given_by_select(lake):
    generated(lake.table_uri)
    lake.step = {"select": {"day": "CAST(at AS DATE)"}}
    lake.put("a.json", lines({"id": 1, "at": "2024-01-02T03:04:05Z"}))
    lake.run()
    assert lake.rows("id", "day") == [{"id": 1, "day": date(2024, 1, 2)}]


@pytest.mark.parametrize(
    "configuration",
    [
        {"delta.columnMapping.mode": "name", "delta.minReaderVersion": "2", "delta.minWriterVersion": "5"},
        {"delta.enableDeletionVectors": "true"},
        {"delta.enableRowTracking": "true"},
    ],
)
def test_unsupported_tables_are_refused_before_anything_is_written(lake, configuration):
    generated(lake.table_uri)
    entry = Path(lake.table_uri) / "_delta_log" / f"{0:020d}.json"
    raw = [json.loads(line) for line in entry.read_text().splitlines()]
    raw[1]["metaData"]["configuration"] = configuration
    entry.write_text("\n".join(map(json.dumps, raw)))
    before = {path: path.stat().st_mtime_ns for path in lake.folder.rglob("*") if path.is_file()}
    lake.put("a.json", lines({"id": 1}))
    with pytest.raises(UnsupportedTable, match="nothing was written") as error:
        lake.run()
    assert error.value.uri == lake.table_uri
    after = {
        path: path.stat().st_mtime_ns
        for path in lake.folder.rglob("*")
        if (path.is_file() and path.suffix != ".json") or path == entry
    }
    assert {path: at for path, at in before.items() if path != entry}.items() <= after.items()
    assert len(after) == 1, "neither manifest nor data files"


def test_partitioned(lake):
    lake.table = {"partition_by": ["day", "kind"]}
    lake.step = {"select": {"day": "CAST(at AS DATE)"}}
    kinds = ["a b", "x/y", None, "ü", ""]
    rows = [{"id": n, "at": f"2024-01-0{n % 3 + 1}T00:00:00Z", "kind": kinds[n % 5]} for n in range(30)]
    lake.put("a.json", lines(*rows[:15]))
    lake.put("b.json", lines(*rows[15:]))
    lake.run()
    assert sorted(lake.rows("id")) == list(range(30))
    # Delta knows no empty text as a partition's value: it is null there
    expected = sorted((row["id"], row["kind"] or None) for row in rows)
    assert sorted((row["id"], row["kind"] or None) for row in lake.rows("id", "kind")) == expected
    assert sorted(pl.scan_delta(lake.table_uri).select("id").collect()["id"].to_list()) == list(range(30))
    only = DeltaTable(lake.table_uri).to_pyarrow_table(filters=[("day", "=", date(2024, 1, 1))])
    assert sorted(only["id"].to_pylist()) == [n for n in range(30) if n % 3 == 0]


def test_another_partitioning_than_the_table_has_is_the_tables(lake):
    DeltaTable.create(
        lake.table_uri, schema=pa.schema([("id", pa.int64()), ("kind", pa.string())]), partition_by=["kind"]
    )
    lake.put("a.json", lines({"id": 1, "kind": "a"}, {"id": 2}))
    lake.run()
    assert sorted(lake.rows("id")) == [1, 2]
    assert {path.name for path in Path(lake.table_uri).glob("kind=*")} == {"kind=a", "kind=__HIVE_DEFAULT_PARTITION__"}


def test_tables_and_pipelines_know_each_other(lake):
    lake.table = {"properties": {"delta.logRetentionDuration": "interval 60 days"}}
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    configuration = DeltaTable(lake.table_uri).metadata().configuration
    assert configuration["delta.logRetentionDuration"] == "interval 60 days"
    assert len(configuration["lakeray.pipeline.w"]) == 36


def test_two_imports_into_one_table_do_not_see_each_others_batches(lake, tmp_path):
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    other = SmallLake(tmp_path / "other")
    other.table = {"uri": lake.table_uri}
    other.put("b.json", lines({"id": 2}))
    context = other.context()
    from dataclasses import replace

    from lakeray.importer.loop import ImportLoop

    ImportLoop(replace(context, workflow="second")).drain()
    lake.put("c.json", lines({"id": 3}))
    lake.run()
    assert sorted(lake.rows("id")) == [1, 2, 3]
    assert set(lake.outcomes()) == {"a.json", "c.json"}


def test_a_table_that_was_recreated_is_not_imported_into_blindly(lake):
    import shutil

    lake.put("a.json", lines({"id": 1}))
    lake.run()
    for path in Path(lake.table_uri).iterdir():
        if path.name != "_lakeray":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(LakerayError, match="another table") as error:
        lake.run()
    assert error.value.code == "exactly_once"
    assert "_lakeray" in (error.value.hint or "")


def test_deltalake_is_the_real_one():
    assert deltalake.__version__.startswith("1.")
