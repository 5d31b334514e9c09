"""A contract decides part by part what a source may change; whatever it decides, no value is lost without a word."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeray.errors import LakerayError
from tests.unit.delta.readers import READERS, rows
from tests.unit.importer.small_lake import SmallLake, balance, lines


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path)


def by_id(lake, *columns):
    return {row["id"]: tuple(row.get(name) for name in columns) for row in lake.rows()}


FIRST = {"id": 1, "s": {"a": 1}, "l": [{"a": 1}]}
NESTED = {"id": 2, "s": {"a": 2, "b": {"c": "x"}}, "l": [{"a": 2}, {"z": 1.5}]}


@pytest.mark.parametrize("slots", [1, 3])
def test_nested_fields_join_inside_a_batch_and_every_reader_gives_null_for_older_rows(lake, slots):
    lake.put("a.json", lines(FIRST))
    lake.run()
    lake.slots = slots
    lake.put("b.json", lines(NESTED))
    lake.put("c.json", lines({"id": 3, "s": {"a": 3, "b": {"d": [1]}}}))
    lake.put("d.json", lines({"id": 4, "s": {"a": 4}, "l": []}))
    summary = lake.run()
    assert sorted(summary.new_columns) == ["l[].z", "s.b"] or sorted(summary.new_columns) == ["l[].z", "s.b", "s.b.d"]
    first = {"a": 1, "b": None}
    found = by_id(lake, "s", "l")
    assert found[1] == (first, [{"a": 1, "z": None}])
    assert found[2] == ({"a": 2, "b": {"c": "x", "d": None}}, [{"a": 2, "z": None}, {"a": None, "z": 1.5}])
    assert found[3] == ({"a": 3, "b": {"c": None, "d": [1]}}, None)
    assert found[4] == ({"a": 4, "b": None}, [])
    answers = {name: rows(_plain(read(lake.table_uri))) for name, read in READERS.items()}
    assert all(answer == answers["delta-rs"] for answer in answers.values()), answers
    assert lake.run().batches == []


def _plain(table):
    """The rows without what readers spell differently: views, the order of struct fields."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    texts = {name: [json.dumps(v, sort_keys=True, default=str) for v in values] for name, values in columns.items()}
    return pa.table(texts)


def test_a_field_that_is_new_inside_a_map_is_rescued_whole(lake):
    """delta-rs cannot read a map from a file whose entries lack a field (test_facts)."""
    lake.source = {"format": "parquet"}
    old, new = (
        pa.map_(pa.string(), pa.struct(fields))
        for fields in ([("a", pa.int64())], [("a", pa.int64()), ("b", pa.int64())])
    )
    for name, kind, value in (("a", old, {"a": 1}), ("b", new, {"a": 2, "b": 3})):
        path = lake.put(f"{name}.parquet", b"")
        pq.write_table(pa.table({"id": [len(value)], "m": pa.array([[("k", value)]], kind)}), path)
        lake.run()
    assert by_id(lake, "_rescued_data") == {1: (None,), 2: ('{"m":{"k":{"a":2,"b":3}}}',)}


COLUMN = [{"id": 2, "x": "new"}, {"id": 3}]
NEW_FIELD = [{"id": 2, "s": {"a": 1, "b": 2}}, {"id": 3}]
MISFIT = [{"id": 2, "n": "text"}, {"id": 3}]


@pytest.mark.parametrize("new", [COLUMN, NEW_FIELD], ids=["column", "field"])
@pytest.mark.parametrize("slots", [1, 2])
def test_discard_row_of_columns_sends_the_row_to_quarantine(lake, new, slots):
    lake.source = {"contract": {"columns": "discard_row"}}
    lake.slots = slots
    lake.put("a.json", lines({"id": 1, "s": {"a": 1}}))
    lake.run()
    lake.put("b.json", lines(*new))
    summary = lake.run()
    assert balance(summary) == {"read": 2, "written": 1, "quarantined": 1}
    column = "x" if new is COLUMN else "s"
    ((rule, record),) = [(row["rule"], json.loads(row["record"])) for row in lake.quarantined()]
    assert (rule, record["id"]) == (f"type:{column}", 2)
    assert sorted(by_id(lake)) == [1, 3]


@pytest.mark.parametrize("part", ["columns", "types"])
def test_freeze_names_column_object_and_record(lake, part):
    lake.source = {"contract": {part: "freeze"}}
    lake.put("a.json", lines({"id": 1, "n": 1}))
    lake.run()
    bad = {"id": 3, "x": "secret"} if part == "columns" else {"id": 3, "n": "secret"}
    lake.put("b.json", lines({"id": 2}, bad))
    with pytest.raises(LakerayError) as caught:
        lake.run()
    told = str(caught.value)
    assert f"{'x' if part == 'columns' else 'n'!r}" in told
    assert f"record 2 of {lake.uri('b.json')}" in told
    assert "secret" not in told
    assert sorted(by_id(lake)) == [1], "nothing was committed"


def test_discard_value_rescues_unless_evolution_ignores(lake):
    lake.source = {"contract": {"columns": "discard_value", "types": "discard_value"}}
    lake.put("a.json", lines({"id": 1, "n": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "n": "text", "x": 5}))
    lake.run()
    lake.source = {"evolution": "ignore", "contract": {"types": "discard_value"}}
    lake.put("c.json", lines({"id": 3, "n": "text", "x": 5}))
    summary = lake.run()
    assert {key: (n, r and json.loads(r)) for key, (n, r) in by_id(lake, "n", "_rescued_data").items()} == {
        1: (1, None),
        2: (None, {"n": "text", "x": 5}),
        3: (None, None),
    }
    assert balance(summary) == {"read": 1, "written": 1}


def test_discard_row_of_types_beside_new_columns(lake):
    lake.source = {"evolution": "add_columns", "contract": {"types": "discard_row"}}
    lake.put("a.json", lines({"id": 1, "n": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "n": "text"}, {"id": 3, "n": 3, "x": 5}))
    lake.run()
    assert by_id(lake, "n", "x") == {1: (1, None), 3: (3, 5)}
    assert lake.quarantined("rule") == ["type:n"]


def test_frozen_tables_are_not_made(lake):
    lake.source = {"contract": {"tables": "freeze"}}
    lake.put("a.json", lines({"id": 1}))
    with pytest.raises(LakerayError, match="no table"):
        lake.run()
    lake.source = {}
    lake.run()
    lake.source = {"contract": {"tables": "freeze"}}
    lake.put("b.json", lines({"id": 2}))
    lake.run()
    assert sorted(by_id(lake)) == [1, 2]


@pytest.mark.parametrize("slots", [1, 2])
def test_evolving_types_widen_what_no_file_holds_yet(lake, slots):
    """A column that is new in the batch takes the type that holds all its values, in every order of objects."""
    lake.source = {"contract": {"types": "evolve"}}
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.slots = slots
    lake.put("b.json", lines({"id": 2, "x": 1}))
    lake.put("c.json", lines({"id": 3, "x": 1.5}))
    lake.run()
    assert by_id(lake, "x", "_rescued_data") == {1: (None, None), 2: (1.0, None), 3: (1.5, None)}
    lake.put("d.json", lines({"id": 4, "x": "text"}))
    lake.run()
    assert by_id(lake, "x", "_rescued_data")[4] == (None, '{"x":"text"}')
    assert lake.stray_files() == set()
