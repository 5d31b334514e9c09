"""Columns take wider types only where that was asked for, in one commit, and every value stays what it was.

Crash points: before the table's files are written anew and after that commit (``before_widen_commit``,
``after_widen_commit``), besides those of every batch (test_failpoints). After the kill one more run must bring the
table to what it would have been.
"""

from __future__ import annotations

import json
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from lakeray.delta.table import open_table
from lakeray.delta.upkeep import live_files
from lakeray.errors import ColumnRetyped
from lakeray.importer import batch as batch_module
from tests.commands import python
from tests.unit.delta.readers import READERS, rows
from tests.unit.importer.small_lake import SmallLake, lines

REWRITE = {"contract": {"types": "evolve", "widen": "rewrite"}}


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path, source=REWRITE)


def by_id(lake, *columns):
    return {row["id"]: tuple(row.get(name) for name in columns) for row in lake.rows()}


def readers_agree(lake):
    answers = {name: rows(read(lake.table_uri)) for name, read in READERS.items()}
    assert all(answer == answers["delta-rs"] for answer in answers.values()), answers


WIDER = {
    "int32 to int64": (pa.int32(), 7, 2**40, "int64", 7),
    "int8 to int16": (pa.int8(), 7, 300, "int16", 7),
    "int64 to float64": (pa.int64(), 2**53, 1.5, "double", float(2**53)),
    "float32 to float64": (pa.float32(), 0.5, 0.1, "double", 0.5),
    "decimal to more digits": (pa.decimal128(4, 2), "1.25", "123456.789", "decimal128(9, 3)", "1.250"),
    "struct": (pa.struct([("a", pa.int32())]), {"a": 7}, {"a": 2**40}, "struct<a: int64>", {"a": 7}),
}


def old_table(lake, kind, value):
    values = pa.array([value]).cast(kind) if pa.types.is_decimal(kind) else pa.array([value], kind)
    write_deltalake(lake.table_uri, pa.table({"id": [1], "v": values}))


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("name", WIDER)
def test_files_are_written_anew_in_the_wider_type(lake, name, slots):
    kind, old, new, wide, kept = WIDER[name]
    old_table(lake, kind, old)
    lake.slots = slots
    lake.put("a.json", lines({"id": 2, "v": old}))
    lake.put("b.json", lines({"id": 3, "v": new}))
    lake.put("c.json", lines({"id": 4}))
    lake.run()
    found = {key: str(v) if "decimal" in wide else v for key, (v,) in by_id(lake, "v").items()}
    assert lake.schema()["v"] == wide
    assert found == {1: kept, 2: kept, 3: new, 4: "None" if "decimal" in wide else None}
    files = [f"{lake.table_uri}/{file.path}" for file in live_files(lake.table_uri)]
    assert {str(pq.read_schema(path).field("v").type) for path in files} == {wide}
    readers_agree(lake)
    assert lake.run().batches == []


def test_a_date_becomes_a_timestamp(lake):
    lake.source = {**REWRITE, "schema_hints": {}}
    lake.put("a.json", lines({"id": 1, "v": "2024-01-02"}))
    lake.run()
    assert lake.schema()["v"] == "date32[day]"
    lake.put("b.json", lines({"id": 2, "v": "2024-01-02T03:04:05Z"}))
    lake.run()
    assert {key: str(v) for key, (v,) in by_id(lake, "v").items()} == {
        1: "2024-01-02 00:00:00+00:00",
        2: "2024-01-02 03:04:05+00:00",
    }
    readers_agree(lake)


def test_text_only_where_a_hint_asks_for_it(lake):
    lake.put("a.json", lines({"id": 1, "v": 5, "w": 5}))
    lake.run()
    lake.source = {**REWRITE, "schema_hints": {"v": "string"}}
    lake.put("b.json", lines({"id": 2, "v": "five", "w": "five"}))
    lake.run()
    assert by_id(lake, "v", "w", "_rescued_data") == {1: ("5", 5, None), 2: ("five", None, '{"w":"five"}')}
    readers_agree(lake)


def test_without_the_request_the_value_is_rescued(lake):
    lake.source = {"contract": {"types": "evolve"}}
    lake.put("a.json", lines({"id": 1, "v": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "v": 1.5}))
    lake.run()
    assert lake.schema()["v"] == "int64"
    assert by_id(lake, "v", "_rescued_data") == {1: (1, None), 2: (None, '{"v":1.5}')}


def test_integers_that_a_float_would_not_hold_stay_integers(lake):
    lake.put("a.json", lines({"id": 1, "v": 2**53 + 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "v": 1.5}))
    lake.run()
    assert by_id(lake, "v", "_rescued_data") == {1: (2**53 + 1, None), 2: (None, '{"v":1.5}')}


def test_partition_columns_and_append_only_tables_stay_as_they_are(lake):
    lake.table = {"partition_by": ["v"]}
    lake.put("a.json", lines({"id": 1, "v": 1, "w": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "v": 1.5, "w": 1.5}))
    lake.run()
    assert (lake.schema()["v"], lake.schema()["w"]) == ("int64", "double")
    assert by_id(lake, "v", "w", "_rescued_data") == {1: (1, 1.0, None), 2: (None, 1.5, '{"v":1.5}')}
    deltalake.DeltaTable(lake.table_uri).alter.set_table_properties({"delta.appendOnly": "true"})
    lake.put("c.json", lines({"id": 3, "id2": 1}))
    lake.put("d.json", lines({"id": 4.5}))
    lake.run()
    assert lake.schema()["id"] == "int64"
    assert [row["_rescued_data"] for row in lake.rows() if row["id"] is None] == ['{"id":4.5}']


def test_a_field_inside_a_map_is_added_by_rewriting(lake):
    lake.source = {"format": "parquet", **REWRITE}
    fields = [pa.field("a", pa.int64()), pa.field("b", pa.int64())]
    old, new = (pa.map_(pa.string(), pa.struct(fields[:count])) for count in (1, 2))
    for name, kind, value in (("a", old, {"a": 1}), ("b", new, {"a": 2, "b": 3})):
        path = lake.put(f"{name}.parquet", b"")
        pq.write_table(pa.table({"id": [len(value)], "m": pa.array([[("k", value)]], kind)}), path)
        lake.run()
    assert by_id(lake, "m") == {1: ([("k", {"a": 1, "b": None})],), 2: ([("k", {"a": 2, "b": 3})],)}


def test_the_commit_changes_no_row_and_keeps_what_the_table_says_of_itself(lake):
    deltalake.DeltaTable.create(
        lake.table_uri,
        schema=pa.schema([pa.field("id", pa.int64(), metadata={"comment": "key"}), ("v", pa.int32())]),
        name="told",
        description="by its owner",
        configuration={"delta.logRetentionDuration": "interval 60 days"},
    )
    lake.put("a.json", lines({"id": 1, "v": 1}))
    lake.run()
    before = deltalake.DeltaTable(lake.table_uri)
    lake.put("b.json", lines({"id": 2, "v": 2**40}))
    lake.run()
    after = deltalake.DeltaTable(lake.table_uri)
    assert (after.metadata().id, after.metadata().name, after.metadata().description) == (
        before.metadata().id,
        "told",
        "by its owner",
    )
    assert after.metadata().configuration == before.metadata().configuration
    assert json.loads(after.schema().to_json())["fields"][0]["metadata"] == {"comment": "key"}
    logs = [json.loads(line) for entry in _log(lake) for line in entry.splitlines()]
    (widening,) = [a["commitInfo"] for a in logs if a.get("commitInfo", {}).get("operation") == "CHANGE COLUMN"]
    assert widening["operationParameters"] == {"columns": "v"}
    changes = {a["remove"]["dataChange"] for a in logs if "remove" in a}
    assert changes == {False}


def _log(lake):
    return [entry.read_text() for entry in sorted((Path(lake.table_uri) / "_delta_log").glob("*.json"))]


CRASHES = ("after_result", "before_widen_commit", "after_widen_commit", "before_commit", "after_commit")


@pytest.mark.parametrize("name", CRASHES)
def test_killed_while_a_column_is_widened(lake, name):
    lake.put("a.json", lines({"id": 1, "v": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "v": 1.5}))
    code = (
        "import sys; from pathlib import Path; from tests.unit.importer.small_lake import SmallLake;"
        f"SmallLake(Path(sys.argv[1]), source={REWRITE!r}).run()"
    )
    done = python(code, str(lake.folder), LAKERAY_FAILPOINTS=f"{name}=kill")
    assert done.returncode == -9, done.stderr
    lake.run()
    assert by_id(lake, "v") == {1: (1.0,), 2: (1.5,)}
    readers_agree(lake)
    assert lake.run().batches == []


def test_files_that_were_staged_for_the_narrow_type_are_not_committed(lake, monkeypatch):
    """Another importer widens the column between this one's writing and its commit: it must write again."""
    lake.source = {}
    lake.put("a.json", lines({"id": 1, "v": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "v": 2}))
    plain = batch_module.store_result

    def meanwhile(identity, result):
        plain(identity, result)
        monkeypatch.setattr(batch_module, "store_result", plain)
        context = SmallLake(lake.folder, source=REWRITE).context()
        handle = open_table(lake.table_uri)
        batch_module.widen(context, handle, {"v": pa.float64()}, batch=99)

    monkeypatch.setattr(batch_module, "store_result", meanwhile)
    with pytest.raises(ColumnRetyped, match=r"'v'.*double"):
        lake.run()
    lake.run()
    assert by_id(lake, "v") == {1: (1.0,), 2: (2.0,)}
    readers_agree(lake)


def test_a_file_that_another_writer_adds_meanwhile_is_widened_too(lake, monkeypatch):
    lake.put("a.json", lines({"id": 1, "v": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "v": 1.5}))
    from lakeray.delta import rewrite

    plain = rewrite._Attempt._send

    def slow(self, handle, planned):
        monkeypatch.setattr(rewrite._Attempt, "_send", plain)
        write_deltalake(lake.table_uri, pa.table({"id": [3], "v": [3]}), mode="append")
        return plain(self, handle, planned)

    monkeypatch.setattr(rewrite._Attempt, "_send", slow)
    lake.run()
    assert by_id(lake, "v") == {1: (1.0,), 2: (1.5,), 3: (3.0,)}
    readers_agree(lake)
    assert lake.stray_files() == set()
