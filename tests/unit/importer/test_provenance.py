"""A row says which object version it came from, and nobody but the import can say so for it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakeray.delta.files import data_files
from lakeray.delta.table import require_table
from lakeray.importer.manifest import load_manifest
from lakeray.importer.provenance.columns import NAMES, RowsOf, Stamp, is_kept
from lakeray.runtime.upkeep import TableOf
from tests.unit.importer.small_lake import SmallLake, lines

KEEP = {"provenance": True}


def origins(lake):
    """Object names by id, from what the rows say through the manifests."""
    identity = lake.ledger().identity
    found = {}
    for row in lake.rows("id", *NAMES):
        manifest = load_manifest(identity, row["_lakeray_batch"])
        assert row["_lakeray_import"] == f"{identity.pipeline}/ingest"
        found[row["id"]] = manifest.objects[row["_lakeray_object"]].info.uri.removeprefix(f"{lake.raw}/")
    return found


@pytest.mark.parametrize("slots", [1, 3])
def test_a_row_leads_back_to_its_object_through_the_manifest_also_after_a_compaction(tmp_path, slots):
    lake = SmallLake(tmp_path, table=KEEP, slots=slots, plan={"batch": {"max_objects": 3}})
    expected = {}
    for number in range(7):
        name = f"{number}.json"
        lake.put(name, lines({"id": number * 10}, {"id": number * 10 + 1}))
        expected |= {number * 10: name, number * 10 + 1: name}
    lake.run()
    assert origins(lake) == expected
    TableOf(lake.table_uri).optimize()
    assert len(data_files(require_table(lake.table_uri))) == 1
    assert origins(lake) == expected


def test_objects_that_are_skipped_or_fail_shift_no_places(tmp_path):
    lake = SmallLake(tmp_path, table=KEEP)
    lake.put("a.json", lines({"id": 1}))
    lake.put("b.json", lines({"id": 2}))
    lake.run()
    lake.put("a.json", lines({"id": 3}, {"id": 4}))  # changed: skipped
    lake.put("c.json", b"\xff\xfe\x00")
    lake.put("d.json", lines({"id": 5}))
    lake.run()
    assert origins(lake) == {1: "a.json", 2: "b.json", 5: "d.json"}


def test_a_table_gets_the_columns_when_it_is_asked_to_keep_them(tmp_path):
    lake = SmallLake(tmp_path)
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    assert not set(NAMES) & set(lake.schema())
    lake.table = KEEP
    lake.put("b.json", lines({"id": 2}))
    summary = lake.run()
    assert summary.new_columns == []
    assert summary.notes == []
    assert {row["id"]: row["_lakeray_batch"] for row in lake.rows("id", *NAMES)} == {1: None, 2: 2}


def test_a_table_that_has_them_gets_them_of_every_row(tmp_path):
    lake = SmallLake(tmp_path, table=KEEP)
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.table = {}
    lake.put("b.json", lines({"id": 2}))
    lake.run()
    assert origins(lake) == {1: "a.json", 2: "b.json"}


@pytest.mark.parametrize(
    ("source", "step"),
    [
        ({"changed_objects": "replace"}, {}),
        ({"deleted_objects": "delete"}, {}),
        ({}, {"compensate": "withdraw"}),
    ],
)
def test_a_policy_that_takes_rows_out_keeps_them_by_itself(tmp_path, source, step):
    lake = SmallLake(tmp_path, source=source, step=step)
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    assert is_kept(require_table(lake.table_uri).schema)
    assert origins(lake) == {1: "a.json"}


def test_a_source_cannot_forge_them(tmp_path):
    lake = SmallLake(tmp_path, table=KEEP)
    lake.put("a.json", lines({"id": 1, "_lakeray_batch": 77, "_LAKERAY_OBJECT": 5}))
    lake.run()
    (row,) = lake.rows()
    assert (row["_lakeray_batch"], row["_lakeray_object"]) == (1, 0)
    assert "77" in row["_rescued_data"]
    assert "_LAKERAY_OBJECT" not in row


def test_expressions_do_not_see_them(tmp_path):
    lake = SmallLake(tmp_path, table=KEEP)
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.step = {"where": "_lakeray_batch > 0"}
    lake.put("b.json", lines({"id": 2}))
    with pytest.raises(Exception, match="_lakeray_batch"):
        lake.run()
    assert origins(lake) == {1: "a.json"}


def test_a_picker_picks_exactly_its_rows():
    tables = [
        Stamp(importer=importer, batch=batch).put(pa.table({"n": [number]}), place)
        for number, (importer, batch, place) in enumerate(
            [("p/a", 1, 0), ("p/a", 1, 1), ("p/a", 2, 0), ("p/b", 1, 1), ("p/a", 2**31 - 1, 2**31 - 1)]
        )
    ]
    unknown = pa.table(
        {"n": [9], **{item.name: pa.nulls(1, item.type) for item in tables[0].schema if item.name != "n"}}
    )
    table = pa.concat_tables([*tables, unknown])
    picker = RowsOf(importer="p/a", places={1: [1], 2**31 - 1: [2**31 - 1]})
    assert picker.pick(table).to_pylist() == [False, True, False, False, True, False]
    assert picker.counts(table.filter(picker.pick(table))) == {(1, 1): 1, (2**31 - 1, 2**31 - 1): 1}


def test_statistics_leave_files_of_other_batches_and_imports_alone(tmp_path):
    lake = SmallLake(tmp_path, table=KEEP)
    for number in range(4):
        lake.put(f"{number}.json", lines({"id": number}))
        lake.run()
    files = data_files(require_table(lake.table_uri), NAMES)
    name = f"{lake.ledger().identity.pipeline}/ingest"
    assert sum(RowsOf(importer=name, places={2: [0]}).may_hold(file) for file in files) == 1
    assert sum(RowsOf(importer=name, places={2: [1]}).may_hold(file) for file in files) == 0
    assert sum(RowsOf(importer="0" + name[1:], places={2: [0]}).may_hold(file) for file in files) == 0
