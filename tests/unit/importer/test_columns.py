"""Columns come from objects, paths and metadata; new ones join inside a batch; no value is lost on the way."""

from __future__ import annotations

import json
from datetime import UTC

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeray.errors import LakerayError
from lakeray.importer.schema.agreement import merged_schema
from tests.unit.importer.small_lake import SmallLake, balance, lines


def by_id(lake, *columns):
    return {
        row["id"]: tuple(row[name] for name in columns) if len(columns) > 1 else row[columns[0]]
        for row in lake.rows("id", *columns)
    }


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path)


def test_hive_folders_become_typed_columns(lake):
    lake.put("year=2024/country=CH/a.json", lines({"id": 1}))
    lake.put("year=2025/country=a%20b/b.json", lines({"id": 2}))
    lake.put("year=__HIVE_DEFAULT_PARTITION__/c.json", lines({"id": 3}))
    lake.run()
    assert lake.schema()["year"] == "int64"
    assert by_id(lake, "year", "country") == {1: (2024, "CH"), 2: (2025, "a b"), 3: (None, None)}


def test_hive_folders_can_be_left_alone(lake):
    lake.source = {"partitions": "none"}
    lake.put("year=2024/a.json", lines({"id": 1}))
    lake.run()
    assert list(lake.schema()) == ["id"]


def test_template_parts_become_columns(lake):
    lake.source = {"uri": f"{lake.raw}/{{region}}/{{day}}/*.json", "schema_hints": {"day": "date"}}
    lake.put("eu/2024-01-02/a.json", lines({"id": 1}))
    lake.put("us/2024-01-03/b.json", lines({"id": 2}))
    lake.put("us/other.json", lines({"id": 3}))
    lake.run()
    assert {key: (region, str(day)) for key, (region, day) in by_id(lake, "region", "day").items()} == {
        1: ("eu", "2024-01-02"),
        2: ("us", "2024-01-03"),
    }


def test_a_column_of_the_object_wins_over_its_path(lake):
    lake.put("year=2024/a.json", lines({"id": 1, "year": 1999}))
    lake.run()
    assert by_id(lake, "year") == {1: 1999}


def test_a_value_of_a_path_that_does_not_fit_is_rescued(lake):
    lake.put("year=2024/a.json", lines({"id": 1}))
    lake.run()
    lake.put("year=later/b.json", lines({"id": 2}))
    lake.run()
    assert by_id(lake, "year", "_rescued_data") == {1: (2024, None), 2: (None, '{"year":"later"}')}


def test_object_metadata_in_expressions(lake):
    lake.step = {
        "select": {
            "uri": "_object.uri",
            "bytes": "_object.size",
            "tag": "_object.etag",
            "at": "_object.modified_at",
            "n": "_object.row",
        }
    }
    lake.put("a.json", lines({"id": 1}, b"bad", {"id": 3}))
    lake.run()
    entry = lake.entry("a.json")
    same = (lake.uri("a.json"), entry["size"], entry["etag"], entry["modified_at"].astimezone(UTC))
    assert by_id(lake, "uri", "bytes", "tag", "at", "n") == {1: (*same, 1), 3: (*same, 3)}
    assert "_object" not in lake.schema()


def test_new_columns_join_inside_a_batch(lake):
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2}, {"id": 3, "x": 1.5}))
    lake.put("c.json", lines({"id": 4, "y": {"z": [True]}}))
    summary = lake.run()
    assert sorted(summary.new_columns) == ["x", "y"]
    assert by_id(lake, "x", "y") == {1: (None, None), 2: (None, None), 3: (1.5, None), 4: (None, {"z": [True]})}
    assert lake.run().batches == []


@pytest.mark.parametrize("slots", [1, 4])
def test_the_same_new_column_in_all_tasks(lake, slots):
    lake.put("a.json", lines({"id": 0}))
    lake.run()
    lake.slots = slots
    for n in range(1, 6):
        lake.put(f"b{n}.json", lines({"id": n, "x": f"v{n}"}))
    lake.run()
    assert by_id(lake, "x") == {0: None, **{n: f"v{n}" for n in range(1, 6)}}
    assert lake.stray_files() == set()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2.5], "double"),
        ([1, "x"], "string"),
        ([None, 3], "int64"),
        ([[1], ["a"]], "string"),
        ([{"a": 1}, {"b": 2}], "struct<a: int64, b: int64>"),
    ],
)
def test_tasks_that_disagree_about_a_new_column_agree_in_the_end(lake, values, kind):
    lake.put("a.json", lines({"id": 0}))
    lake.run()
    lake.slots = 3
    for n, value in enumerate(values, 1):
        lake.put(f"b{n}.json", lines({"id": n, "x": value}))
    lake.run()
    assert lake.schema()["x"] == kind
    found = by_id(lake, "x")
    for n, value in enumerate(values, 1):
        text = isinstance(found[n], str) and not isinstance(value, str)
        got = json.loads(found[n]) if text else found[n]
        assert got == value or (isinstance(value, dict) and {k: v for k, v in got.items() if v is not None} == value)
    assert lake.stray_files() == set()


def test_merging_new_fields():
    known = pa.schema([("id", pa.int64())])
    assert merged_schema(known, [known, known]) is None
    ints, texts = (pa.schema([*known, ("x", kind)]) for kind in (pa.int64(), pa.string()))
    assert merged_schema(known, [ints, known, ints]) == ints
    assert merged_schema(known, [ints, texts]) == texts
    upper = pa.schema([*known, ("X", pa.int64()), ("ID", pa.int64())])
    assert merged_schema(known, [ints, upper]) == ints, "Delta's names ignore case: the first spelling counts"


@pytest.mark.parametrize("slots", [1, 3])
def test_new_columns_that_differ_by_case_alone(lake, slots):
    lake.put("a.json", lines({"id": 0}))
    lake.run()
    lake.slots = slots
    lake.put("b.json", lines({"id": 1, "Foo": 1}))
    lake.put("c.json", lines({"id": 2, "foo": 2}))
    lake.run()
    assert by_id(lake, "Foo", "_rescued_data") == {0: (None, None), 1: (1, None), 2: (None, '{"foo":2}')}


def test_columns_that_differ_by_case_alone_in_the_first_objects(lake):
    lake.put("a.json", lines({"id": 1, "ID": 5}))
    lake.put("b.json", lines({"id": 2, "Id": 7}))
    lake.run()
    assert by_id(lake, "_rescued_data") == {1: '{"ID":5}', 2: '{"Id":7}'}


def test_a_hint_decides_between_spellings(lake):
    lake.source = {"schema_hints": {"ID": "string"}}
    lake.put("a.json", lines({"id": 1}, {"ID": 2}))
    lake.run()
    assert {(row["ID"], row["_rescued_data"]) for row in lake.rows()} == {(None, '{"id":1}'), ("2", None)}


def test_a_table_whose_column_differs_by_case_loses_no_value(lake):
    deltalake.DeltaTable.create(lake.table_uri, schema=pa.schema([("Id", pa.int64()), ("x", pa.string())]))
    lake.put("a.json", lines({"id": 5, "x": "a"}))
    lake.run()
    (row,) = lake.rows()
    assert row["Id"] == 5 or row["_rescued_data"] == '{"id":5}'


def test_a_column_whose_first_objects_are_null(lake):
    for name in "abc":
        lake.put(f"{name}.json", lines({"id": ord(name), "v": None}))
    lake.run()
    assert list(lake.schema()) == ["id"]
    lake.put("d.json", lines({"id": 1, "v": None}))
    lake.put("e.json", lines({"id": 2, "v": [3]}))
    lake.run()
    assert lake.schema()["v"].startswith("list<")
    assert by_id(lake, "v")[2] == [3]


def test_a_sample_without_a_column_is_no_loss(lake):
    """The sample is at most eight objects; what only the ninth has is added inside the batch."""
    for n in range(40):
        lake.put(f"{n:02d}.json", lines({"id": n, **({"rare": "r"} if n in (1, 38) else {})}))
    lake.run()
    assert {n for n, value in by_id(lake, "rare").items() if value == "r"} == {1, 38}


def test_hints_decide_types_and_what_does_not_fit_is_rescued(lake):
    lake.source = {"schema_hints": {"id": "int64", "price": "decimal(10, 2)", "at": "timestamp", "note": "string"}}
    lake.put(
        "a.json",
        lines({"id": "1", "price": 12.34, "at": "2024-01-02T03:04:05Z"}, {"id": 2, "price": "much", "at": "2024"}),
    )
    summary = lake.run()
    assert lake.schema() == {
        "id": "int64",
        "price": "decimal128(10, 2)",
        "at": "timestamp[us, tz=UTC]",
        "note": "string",
        "_rescued_data": "string",
    }
    rescued = by_id(lake, "_rescued_data")
    assert (rescued[1], json.loads(rescued[2])) == (None, {"price": "much", "at": "2024"})
    assert balance(summary) == {"read": 2, "written": 2, "rescued": 1}


EVOLUTIONS = {
    "add_columns": (
        {"id": 2, "x": "new", "_rescued_data": None},
        {"id": None, "x": None, "_rescued_data": '{"id":"text"}'},
    ),
    "rescue": ({"id": 2, "_rescued_data": '{"x":"new"}'}, {"id": None, "_rescued_data": '{"id":"text"}'}),
    "ignore": ({"id": 2},),
}


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_evolution(lake, evolution):
    lake.source = {"evolution": evolution}
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "x": "new"}, {"id": "text"}))
    lake.run()
    assert [row for row in lake.rows() if row["id"] != 1] == list(EVOLUTIONS[evolution])
    refused = [(row["rule"], json.loads(row["record"])) for row in lake.quarantined()]
    assert refused == ([("type:id", {"id": "text", "x": None})] if evolution == "ignore" else [])


def test_evolution_fail_stops_before_anything_is_committed(lake):
    lake.source = {"evolution": "fail"}
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "x": "new"}))
    for _ in range(2):
        with pytest.raises(LakerayError, match="'x'") as error:
            lake.run()
        assert error.value.code == "schema_drift"
    assert by_id(lake, "id") == {1: 1}
    lake.source = {"evolution": "rescue"}
    lake.run()
    assert by_id(lake, "_rescued_data") == {1: None, 2: '{"x":"new"}'}, "a corrected file finishes the batch"


@pytest.mark.parametrize("evolution", ["add_columns", "rescue", "ignore"])
def test_evolution_of_a_table_that_was_there_before(lake, evolution):
    lake.source = {"evolution": evolution}
    lake.step = {"select": {"wanted": "id * 2"}}
    deltalake.DeltaTable.create(lake.table_uri, schema=pa.schema([("id", pa.int64())]))
    lake.put("a.json", lines({"id": 1, "x": "new"}))
    lake.run()
    expected = {"add_columns": {"x": "new"}, "rescue": {"_rescued_data": '{"x":"new"}'}, "ignore": {}}[evolution]
    assert lake.rows() == [{"id": 1, "wanted": 2, **expected}]


def test_evolution_fail_of_a_table_that_was_there_before(lake):
    lake.source = {"evolution": "fail"}
    deltalake.DeltaTable.create(lake.table_uri, schema=pa.schema([("id", pa.int64())]))
    lake.put("a.json", lines({"id": 1, "x": "new"}))
    with pytest.raises(LakerayError, match="'x'"):
        lake.run()
    assert lake.schema() == {"id": "int64"}


def test_the_types_of_a_table_that_was_there_before_are_kept(lake):
    deltalake.DeltaTable.create(
        lake.table_uri, schema=pa.schema([("id", pa.string()), ("v", pa.int32()), ("w", pa.float64())])
    )
    lake.put("a.json", lines({"id": 1, "v": 2, "w": 3}, {"id": "a", "v": 2**40}))
    lake.run()
    assert lake.schema() == {"id": "string", "v": "int32", "w": "double", "_rescued_data": "string"}
    assert by_id(lake, "v", "w", "_rescued_data") == {"1": (2, 3.0, None), "a": (None, None, '{"v":1099511627776}')}


def _turn(table):
    """A hook whose new column has another type in each object."""
    first = table["id"][0].as_py() if table.num_rows else 0
    values = ["x"] * table.num_rows if first == 1 else [2.5] * table.num_rows
    return table.append_column("h", pa.array(values, pa.string() if first == 1 else pa.float64())) if first else table


def test_tasks_whose_hook_disagrees_about_a_column_write_one_type(lake, monkeypatch):
    monkeypatch.setattr("tests.hooks.turn", _turn, raising=False)
    lake.put("0.json", lines({"id": 0}))
    lake.step = {"apply": "tests.hooks:turn"}
    lake.run()
    lake.slots = 2
    lake.put("a.json", lines({"id": 1}))
    lake.put("b.json", lines({"id": 2}))
    lake.run()
    assert by_id(lake, "h") == {0: None, 1: "x", 2: "2.5"}
    files = [pq.read_schema(f"{lake.table_uri}/{path}") for path in {a["path"] for a in actions(lake)}]
    assert {str(schema.field("h").type) for schema in files if "h" in schema.names} == {"string"}


def actions(lake):
    return pa.table(deltalake.DeltaTable(lake.table_uri).get_add_actions()).to_pylist()
