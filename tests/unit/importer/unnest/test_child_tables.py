"""Every element of a list is a row of the child table once, with its parent's key and its place."""

from __future__ import annotations

import gzip
import json
import shutil

import pyarrow as pa
import pytest

from lakeray.delta.table import create_table, open_table
from lakeray.errors import ImportFailed, TableError, TransformError
from lakeray.importer.loop import ImportLoop
from lakeray.importer.manifest import new_manifest, store_manifest
from lakeray.importer.quarantine.reprocess import Choice
from lakeray.importer.recording.amend import LedgerOf
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


def test_a_row_without_a_key_is_refused_with_its_elements(lake):
    lake.put("a.json", lines({"id": 1, "items": [{"sku": "x"}]}, {"items": [{"sku": "y"}]}, {"other": 1}))
    summary = lake.run()
    assert [row["id"] for row in children(lake)] == [1]
    assert lake.quarantined("rule") == ["table:id"]
    assert summary.rows.written == 2
    assert summary.unnested == {"items": 1}


def test_rows_that_go_take_their_elements_along(lake):
    lake.step |= {
        "where": "kind <> 'test'",
        "expect": {
            "small": {"sql": "id < 100", "on_violation": "quarantine"},
            "positive": {"sql": "id > 0", "on_violation": "drop"},
        },
    }
    rows = [
        {"id": id_, "kind": kind, "items": [{"sku": "x"}]}
        for id_, kind in ((1, "a"), (2, "test"), (-1, "a"), (100, "a"))
    ]
    lake.put("a.json", lines(*rows, b"{malformed"))
    lake.run()
    assert [row["id"] for row in children(lake)] == [1]


def test_an_object_that_ends_corrupt_leaves_no_elements(lake):
    packed = gzip.compress(lines(*({"id": n, "items": [{"sku": "x" * 40}]} for n in range(20_000))))
    lake.memory = 2 * 2**20
    lake.put("good.json", lines({"id": -1, "items": [{"sku": "y"}]}))
    lake.put("torn.json.gz", packed[: len(packed) // 2])
    lake.run()
    assert lake.outcomes()["torn.json.gz"] == "failed"
    assert [row["id"] for row in children(lake)] == [-1]


def test_rows_from_quarantine_bring_their_elements_once(lake):
    lake.step["expect"] = {"small": {"sql": "id < 100", "on_violation": "quarantine"}}
    lake.put("a.json", lines({"id": 1, "items": [{"sku": "x"}]}, {"id": 100, "items": [{"sku": "y"}, {"sku": "z"}]}))
    lake.run()
    lake.step["expect"] = {}
    for _ in range(2):
        ImportLoop(lake.context()).reprocess(Choice())
    assert [(row["id"], row["sku"]) for row in children(lake)] == [(1, "x"), (100, "y"), (100, "z")]
    assert lake.quarantined() == []


def test_an_overwrite_replaces_the_child_too(lake):
    lake.plan["mode"] = "overwrite"
    lake.put("a.json", lines({"id": 1, "items": [{"sku": "x"}]}, {"id": 2, "items": [{"sku": "y"}]}))
    lake.run()
    lake.put("a.json", lines({"id": 2, "items": [{"sku": "z"}]}))
    lake.run()
    assert [(row["id"], row["sku"]) for row in children(lake)] == [(2, "z")]


def test_masked_keys_stand_masked_in_the_child(lake):
    lake.step["mask"] = {"id": {"hmac_sha256": "env:KEY"}}
    lake.keys = {"env:KEY": b"k" * 32}
    lake.source["schema_hints"] = {"id": "string"}
    lake.put("a.json", lines({"id": "secret", "items": [{"sku": "x"}]}))
    lake.run()
    assert [row["id"] for row in children(lake)] == lake.rows("id") != ["secret"]


def test_lists_that_come_later_and_children_that_are_added_later(lake):
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    assert children(lake) == []
    lake.put("b.json", lines({"id": 2, "items": ["x", "y"]}))
    lake.run()
    assert [row["value"] for row in children(lake)] == ["x", "y"]
    uri = str(lake.folder / "silver" / "more")
    lake.more_tables["more"] = {"uri": uri}
    lake.step["unnest"]["more"] = {"from": "labels", "key": ["id"]}
    lake.put("c.json", lines({"id": 3, "items": ["z"], "labels": [1]}))
    assert any("rows of batches up to 2 are not in it" in note for note in lake.run().notes)
    assert read(uri).to_pylist() == [{"id": 3, "position": 0, "value": 1}]
    assert [row["value"] for row in children(lake)] == ["x", "y", "z"]


def test_a_child_with_another_id_stops_the_import(lake):
    lake.put("a.json", lines({"id": 1, "items": ["x"]}))
    lake.run()
    shutil.rmtree(lake.workflow().tables["items"].uri)
    lake.put("b.json", lines({"id": 2, "items": ["y"]}))
    with pytest.raises(ImportFailed, match="the child table items is gone, with it the rows of batches up to 1"):
        lake.run()
    assert lake.rows("id") == [1]


def test_a_table_made_anew_does_not_go_on_in_an_old_child(lake):
    lake.put("a.json", lines({"id": 1, "items": ["x"]}))
    lake.run()
    shutil.rmtree(lake.table_uri)
    with pytest.raises(ImportFailed, match="the child table items holds rows of an earlier import"):
        lake.run()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "items": 7}, "the column 'items' of unnest.items holds no lists but int64"),
        ({"no": 1, "items": [1]}, "the key column 'id' of unnest.items is no column"),
    ],
)
def test_what_cannot_be_unnested_is_refused_before_there_is_a_table(lake, row, message):
    lake.put("a.json", lines(row))
    with pytest.raises(TransformError, match=message):
        lake.run()
    assert open_table(lake.table_uri) is None


def test_a_batch_planned_with_other_children_is_finished_as_planned_or_abandoned(lake):
    lake.put("a.json", lines({"id": 1, "items": ["x"]}))
    lake.run()
    context = lake.context()
    handle = open_table(lake.table_uri)
    identity = context.identity(handle)
    plan = new_manifest(
        identity, batch=2, source_uri=context.source.uri, objects=[], mode="append", now=context.now(), extra={}
    )
    store_manifest(identity, plan)
    with pytest.raises(ImportFailed, match="was planned with the child tables none, and the step has items now"):
        lake.run()
    LedgerOf(context).abandon()
    lake.put("b.json", lines({"id": 2, "items": ["y"]}))
    lake.run()
    assert [row["value"] for row in children(lake)] == ["x", "y"]


def test_columns_of_a_child_take_wider_types_as_those_of_a_table_do(lake):
    lake.source["contract"] = {"types": "evolve", "widen": "rewrite"}
    lake.put("a.json", lines({"id": 1, "items": [{"qty": 1}]}))
    lake.run()
    lake.put("b.json", lines({"id": 2.5, "items": [{"qty": 2.5}]}))
    lake.run()
    assert [(row["id"], row["qty"]) for row in children(lake)] == [(1.0, 1.0), (2.5, 2.5)]


def test_a_list_with_an_element_that_does_not_fit_is_rescued_whole_beside_its_parent(lake):
    lake.put("a.json", lines({"id": 1, "items": [{"qty": 1}]}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "items": [{"qty": "many"}, {"qty": 3}]}))
    lake.run()
    (rescued,) = [row["_rescued_data"] for row in lake.rows() if row["id"] == 2]
    assert json.loads(rescued) == {"items": [{"qty": "many"}, {"qty": 3}]}
    assert [(row["id"], row["qty"]) for row in children(lake)] == [(1, 1)]


@pytest.mark.parametrize(("fits", "does_not"), [(5, {"k": 6}), (5, [7]), ({"value": 5}, 6), (5, 0.5)])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_list_that_does_not_fit_has_no_rows(lake, fits, does_not, mapped):
    """A null in the child would say that the element was null; the list is in its parent's rescued data."""
    if mapped:
        lake.step["mapping"] = {"columns": {"id": "id", "items": "deep.items"}}

    def row(number, *items):
        return {"id": number, **({"deep": {"items": items}} if mapped else {"items": items})}

    lake.put("a.json", lines(row(1, fits)))
    lake.run()
    lake.put("b.json", lines(row(2, does_not, does_not)))
    lake.put("c.json", lines(row(3, None)))
    lake.put("d.json", lines(row(4, fits), row(5, fits, does_not)))
    summary = lake.run()
    assert [(row["id"], row["value"]) for row in children(lake)] == [(1, 5), (3, None), (4, 5)]
    assert summary.unnested == {"items": 2}
    assert {"b.json": 0, "c.json": 1, "d.json": 1}.items() <= unnested(lake).items()
    rescued = {row["id"]: json.loads(row["_rescued_data"]) for row in lake.rows() if row["_rescued_data"]}
    assert [found.get("deep", found)["items"] for _, found in sorted(rescued.items())] == [
        [does_not, does_not],
        [fits, does_not],
    ]


def unnested(lake):
    return {row["uri"].rpartition("/")[2]: row["rows_unnested"] for row in lake.ledger_rows().to_pylist()}


def test_a_kept_list_that_does_not_fit_is_null_in_the_table_too(lake):
    lake.step["unnest"]["items"]["keep"] = True
    lake.put("a.json", lines({"id": 1, "items": [5]}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "items": [{"k": 6}]}))
    lake.run()
    assert sorted(lake.rows("id", "items"), key=str) == [{"id": 1, "items": [5]}, {"id": 2, "items": None}]
    assert [row["id"] for row in children(lake)] == [1]


@pytest.mark.parametrize(
    "elements",
    [
        ({"id": 5}, {"id": 6, "items_id": 7}, {"items_id": 8}),
        ({"items_id": 7}, {"items_id": 8}, {"id": 6, "items_id": 9}),
        ({"id": 5, "items_id": 6, "items_items_id": 7}, {"id": 8}),
    ],
)
def test_a_field_called_as_another_is_renamed_to_has_a_column_of_its_own(lake, elements):
    """Whichever comes first, in the same object or in a later batch."""
    names = {"id": "items_id", "items_id": "items_items_id", "items_items_id": "items_items_items_id"}
    for number, element in enumerate(elements):
        lake.put(f"{number}.json", lines({"id": number, "items": [element]}))
        lake.put(f"{number}-plain.json", lines({"id": 100 + number}))
        lake.run()
    found = [{name: value for name, value in row.items() if value is not None} for row in children(lake)]
    assert found == [
        {"id": number, "position": 0, **{names[name]: value for name, value in element.items()}}
        for number, element in enumerate(elements)
    ]
    assert len(lake.rows("id")) == 2 * len(elements)


def test_fields_that_differ_by_case_alone_do_not_stop_the_import(lake):
    lake.put("a.json", lines({"id": 1, "items": [{"id": 5, "ID": 6}]}))
    lake.run()
    assert children(lake) == [{"id": 1, "position": 0, "items_id": 5}]
    assert [json.loads(text) for text in lake.rows("_rescued_data")] == [{"items": [{"id": 5, "ID": 6}]}]


def test_a_partitioned_child(lake):
    lake.more_tables["items"]["partition_by"] = ["kind"]
    lake.put("a.json", lines({"id": 1, "items": [{"kind": "a", "n": 1}, {"kind": "b", "n": 2}, {"n": 3}]}))
    lake.run()
    assert [(row["kind"], row["n"]) for row in children(lake)] == [("a", 1), ("b", 2), (None, 3)]


def test_a_child_with_a_key_of_another_type_is_refused(lake):
    create_table(lake.workflow().tables["items"].uri, pa.schema([("id", pa.string()), ("position", pa.int64())]))
    lake.put("a.json", lines({"id": 1, "items": [{"n": 1}]}))
    with pytest.raises(TableError, match="'id' of the child table items is string, where the rows have int64"):
        lake.run()


def test_lists_that_are_kept_stay_in_the_table_too(lake):
    lake.step["unnest"]["items"]["keep"] = True
    lake.put("a.json", lines({"id": 1, "items": [{"sku": "x"}]}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "items": [{"sku": "y", "new": 1}]}))
    lake.run()
    assert sorted(lake.rows("items"), key=str) == [
        [{"sku": "x", "new": None}],
        [{"sku": "y", "new": 1}],
    ]
    assert [(row["sku"], row["new"]) for row in children(lake)] == [("x", None), ("y", 1)]


def test_the_summary_names_new_columns_of_children(lake):
    lake.put("a.json", lines({"id": 1, "items": [{"sku": "x"}]}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "items": [{"sku": "y", "new": 1}]}))
    assert lake.run().new_columns == ["items.new"]
