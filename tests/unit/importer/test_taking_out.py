"""Rows of objects that changed or are gone leave the table: exactly those, once, in the commit of their batch.

Crash points: every failpoint that such a batch passes, see ``KILLED_AT``; after the kill one more run must bring table,
quarantine and ledger to what the source says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lakeray.delta import rewrite
from lakeray.delta.files import data_files
from lakeray.delta.table import require_table
from lakeray.delta.upkeep import history
from lakeray.errors import ImportFailed, StoreUnavailable
from lakeray.failpoints import EVERY_IMPORT, TAKE_OUT
from lakeray.importer.discovery import difference
from lakeray.importer.discovery.look import plan
from lakeray.importer.loop import ImportLoop
from lakeray.importer.provenance.gone import UNKNOWN_ROWS
from lakeray.objects import join, open_store
from lakeray.runtime.upkeep import TableOf
from tests.sample_lake import SampleLake
from tests.unit.importer.small_lake import SmallLake, lines

MIRROR = {"changed_objects": "replace", "deleted_objects": "delete", "deletion_guard": 1.0}
MIRROR_TEXT = ", changed_objects: replace, deleted_objects: delete, deletion_guard: 1"
KILLED_AT = [name for name in (*EVERY_IMPORT, *TAKE_OUT) if "result" not in name]


@pytest.fixture
def lake(tmp_path):
    """Four objects of two rows each, all imported: 1, 11, 2, 12, 3, 13, 4, 14."""
    lake = SmallLake(tmp_path, source=MIRROR, slots=2)
    for number in range(1, 5):
        lake.put(f"{number}.json", lines({"id": number}, {"id": number + 10}))
    lake.run()
    return lake


def ids(lake):
    return sorted(lake.rows("id"))


def test_a_changed_object_is_replaced_in_one_commit(lake):
    version = require_table(lake.table_uri).version
    lake.put("2.json", lines({"id": 20}))
    assert plan(lake.context()).notes == ["the rows of 1 loads of objects that changed or are gone would be taken out"]
    summary = lake.run()
    assert "batch 2 took 2 rows out of the table (1 replaced)" in summary.notes
    assert ids(lake) == [1, 3, 4, 11, 13, 14, 20]
    assert require_table(lake.table_uri).version == version + 1
    assert summary.rows_removed == 2
    rows = lake.ledger().rows("batch = 2").to_pylist()
    assert sorted((row["outcome"], row["takes"], row["rows_removed"]) for row in rows) == [
        ("loaded", None, None),
        ("replaced", 1, 2),
    ]


def test_a_changed_object_takes_its_quarantined_rows_with_it(lake):
    lake.put("2.json", lines({"id": 20}, b"{"))
    lake.run()
    assert [row["batch"] for row in lake.quarantined("batch", "row")] == [2]
    lake.put("2.json", lines(b"{", b"{", {"id": 21}))
    lake.run()
    assert [(row["batch"], row["row"]) for row in lake.quarantined("batch", "row")] == [(3, 1), (3, 2)]
    (lake.raw / "2.json").unlink()
    lake.run()
    assert lake.quarantined() == []
    assert ids(lake) == [1, 3, 4, 11, 13, 14]


def test_all_versions_that_were_appended_before_go_when_the_policy_changes(lake):
    lake.source = {"changed_objects": "append"}
    lake.table = {"provenance": True}
    lake.put("2.json", lines({"id": 20}))
    lake.run()
    assert ids(lake) == [1, 2, 3, 4, 11, 12, 13, 14, 20]
    lake.source = MIRROR
    lake.put("2.json", lines({"id": 21}))
    lake.run()
    assert ids(lake) == [1, 3, 4, 11, 13, 14, 21]


def test_an_object_that_was_reset_replaces_its_own_rows(lake):
    rows = lake.ledger_rows()
    lake.ledger().reset(rows.filter(pa.compute.equal(rows["uri"], lake.uri("3.json"))), now=lake.now)
    lake.run()
    assert ids(lake) == [1, 2, 3, 4, 11, 12, 13, 14]
    assert lake.outcomes()["3.json"] == "loaded"
    lake.run()
    assert len(lake.ledger().rows("batch = 3")) == 0


def test_rows_stay_as_long_as_the_new_version_cannot_be_read(lake):
    lake.source = {**MIRROR, "compression": "gzip", "max_tries": 5}
    lake.put("2.json", b"no gzip")
    lake.run()
    assert ids(lake) == [1, 2, 3, 4, 11, 12, 13, 14]
    lake.run()
    lake.source = MIRROR
    lake.put("2.json", lines({"id": 20}))
    lake.run()
    assert ids(lake) == [1, 3, 4, 11, 13, 14, 20]


def test_a_deleted_object_and_one_that_comes_instead_change_places_in_one_commit(lake):
    version = require_table(lake.table_uri).version
    (lake.raw / "2.json").rename(lake.raw / "9.json")
    lake.run()
    assert ids(lake) == [1, 2, 3, 4, 11, 12, 13, 14]
    assert require_table(lake.table_uri).version == version + 1
    assert (lake.outcomes()["2.json"], lake.outcomes()["9.json"]) == ("deleted", "loaded")


def test_a_deleted_object_that_comes_back_is_imported_again(lake):
    data = (lake.raw / "2.json").read_bytes()
    (lake.raw / "2.json").unlink()
    lake.run()
    assert ids(lake) == [1, 3, 4, 11, 13, 14]
    lake.put("2.json", data)
    lake.run()
    assert ids(lake) == [1, 2, 3, 4, 11, 12, 13, 14]


def test_by_default_rows_of_deleted_objects_stay(tmp_path):
    lake = SmallLake(tmp_path)
    lake.put("a.json", lines({"id": 1}))
    lake.put("b.json", lines({"id": 2}))
    lake.run()
    (lake.raw / "a.json").unlink()
    summary = lake.run()
    assert (ids(lake), summary.deleted, summary.batches) == ([1, 2], 1, [])


def test_after_a_compaction_only_the_files_that_hold_such_rows_are_rewritten(lake):
    TableOf(lake.table_uri).optimize()
    for number in (5, 6):
        lake.put(f"{number}.json", lines({"id": number}))
        lake.run()
    before = {file.path for file in data_files(require_table(lake.table_uri))}
    (lake.raw / "2.json").unlink()
    lake.run()
    after = {file.path for file in data_files(require_table(lake.table_uri))}
    assert len(before) == len(after) == 3
    assert len(before & after) == 2
    assert ids(lake) == [1, 3, 4, 5, 6, 11, 13, 14]


def test_tables_too_wide_for_statistics_of_the_provenance_lose_the_same_rows(tmp_path):
    """delta-rs knows statistics of the first 32 columns: of others the files themselves are asked."""
    lake = SmallLake(tmp_path, source=MIRROR)
    for number in range(3):
        lake.put(f"{number}.json", lines({"id": number, **{f"c{n}": n for n in range(40)}}))
        lake.run()
    before = {file.path for file in data_files(require_table(lake.table_uri))}
    lake.put("1.json", lines({"id": 10}))
    lake.run()
    assert ids(lake) == [0, 2, 10]
    assert len(before & {file.path for file in data_files(require_table(lake.table_uri))}) == 2


def test_a_file_that_holds_nothing_else_goes_without_a_copy(tmp_path):
    lake = SmallLake(tmp_path, source=MIRROR, plan={"batch": {"max_objects": 1}})
    for number in range(3):
        lake.put(f"{number}.json", lines({"id": number}))
    lake.run()
    (lake.raw / "1.json").unlink()
    lake.run()
    assert ids(lake) == [0, 2]
    (entry,) = history(lake.table_uri, 1)
    assert (entry.operation, entry.metrics["numRemovedFiles"], entry.metrics["numAddedFiles"]) == ("DELETE", "1", "0")


def test_partitions_and_columns_that_came_later_survive(tmp_path):
    lake = SmallLake(tmp_path, source=MIRROR, table={"partition_by": ["p"]})
    lake.put("a.json", lines({"id": 1, "p": "x"}, {"id": 2, "p": None}, {"id": 3, "p": "ü /%"}))
    lake.put("b.json", lines({"id": 4, "p": "x"}, {"id": 5, "p": None}, {"id": 6, "p": "ü /%"}))
    lake.run()
    lake.put("c.json", lines({"id": 7, "p": "x", "new": {"deep": [1]}}))
    lake.run()
    TableOf(lake.table_uri).optimize()
    lake.put("a.json", lines({"id": 10, "p": "ü /%"}))
    lake.run()
    found = {row["id"]: (row["p"], row["new"]) for row in lake.rows("id", "p", "new")}
    assert found == {
        4: ("x", None), 5: (None, None), 6: ("ü /%", None), 7: ("x", {"deep": [1]}), 10: ("ü /%", None),
    }  # fmt: skip


def test_rows_of_others_stay_whatever_they_hold(lake):
    """Another workflow's rows with the same batch and place, and rows that nobody imported."""
    other = SmallLake(lake.folder, source={**MIRROR, "uri": f"{lake.folder}/other/"}, table=lake.table)
    write_deltalake(lake.table_uri, pa.table({"id": [100]}), mode="append", schema_mode="merge")
    context = other.context()
    (lake.folder / "other").mkdir()
    (lake.folder / "other" / "1.json").write_bytes(lines({"id": 200}))
    ImportLoop(replace(context, workflow="v")).drain()
    for number in range(1, 5):
        (lake.raw / f"{number}.json").unlink()
    lake.run()
    assert ids(lake) == [100, 200]


def test_rows_from_before_provenance_are_left_in_place_and_it_is_said(tmp_path):
    lake = SmallLake(tmp_path)
    for name, number in (("a.json", 1), ("b.json", 2), ("c.json", 3)):
        lake.put(name, lines({"id": number}))
    lake.run()
    lake.source = MIRROR
    lake.put("a.json", lines({"id": 10}))
    (lake.raw / "b.json").unlink()
    summary = lake.run()
    assert ids(lake) == [1, 2, 3]
    rows = {row["etag"]: row for row in lake.ledger().rows().to_pylist() if row["uri"] == lake.uri("a.json")}
    assert sorted(row["outcome"] for row in rows.values()) == ["loaded", "skipped"]
    assert UNKNOWN_ROWS in {row["error"] for row in rows.values()}
    assert any("1 of the objects that are gone" in note for note in summary.notes)


# What must never look like a deletion


def test_a_listing_that_fails_halfway_deletes_nothing(lake):
    pages = list(open_store(lake.table_uri).list(f"{lake.raw}/"))

    def torn(prefix):
        yield pages[0].slice(0, 2)
        raise StoreUnavailable("the connection was lost")

    (lake.raw / "1.json").unlink()
    with pytest.raises(StoreUnavailable):
        ImportLoop(replace(lake.context(), list_pages=torn)).drain()
    assert ids(lake) == [1, 2, 3, 4, 11, 12, 13, 14]
    assert set(lake.outcomes().values()) == {"loaded"}


def test_a_listing_that_fails_takes_no_earlier_window_for_granted(lake, monkeypatch):
    """The gone object lies in a window that was compared before the listing broke."""
    monkeypatch.setattr(difference, "WINDOW_ROWS", 1)
    pages = list(open_store(lake.table_uri).list(f"{lake.raw}/"))

    def torn(prefix):
        for row in range(1, 4):  # without 1.json
            yield pages[0].slice(row, 1)
        raise StoreUnavailable("the connection was lost")

    with pytest.raises(StoreUnavailable):
        ImportLoop(replace(lake.context(), list_pages=torn)).drain()
    assert len(ids(lake)) == 8


@pytest.mark.parametrize(("guard", "left", "stops"), [(0.5, 2, False), (0.5, 1, True), (0.0, 3, True), (0.9, 0, True)])
def test_too_many_deletions_at_once_stop_the_import(lake, guard, left, stops):
    lake.source = {**MIRROR, "deletion_guard": guard}
    for number in range(left + 1, 5):
        (lake.raw / f"{number}.json").unlink()
    if not stops:
        lake.run()
        assert len(ids(lake)) == 2 * left
        return
    with pytest.raises(ImportFailed, match=f"{4 - left} of 4 imported objects are not listed") as caught:
        lake.run()
    assert "deletion_guard: 1" in caught.value.hint
    assert len(ids(lake)) == 8
    lake.source = MIRROR
    lake.run()
    assert len(ids(lake)) == 2 * left


def test_a_narrower_uri_is_no_deletion(lake):
    lake.source = {**MIRROR, "uri": f"{lake.raw}/[12].json"}
    lake.run()
    assert len(ids(lake)) == 8


def test_a_young_object_is_no_deletion(lake):
    lake.source = {**MIRROR, "min_age": "1h"}
    lake.put("2.json", lines({"id": 20}))
    lake.run()
    assert len(ids(lake)) == 8


# Neighbours, kills


def test_a_restore_that_brings_rows_back_is_seen(lake):
    lake.plan = {"on_restore": "reimport"}
    version = require_table(lake.table_uri).version
    lake.put("2.json", lines({"id": 20}))
    (lake.raw / "3.json").unlink()
    lake.run()
    assert ids(lake) == [1, 4, 11, 14, 20]
    TableOf(lake.table_uri).restore(version)
    assert len(ids(lake)) == 8
    lake.run()
    assert ids(lake) == [1, 4, 11, 14, 20]
    lake.run()
    assert ids(lake) == [1, 4, 11, 14, 20]


def test_a_compaction_between_plan_and_commit_brings_nothing_back(lake, monkeypatch):
    done = []

    def failpoint(name):
        if name == "before_commit" and not done:
            done.append(TableOf(lake.table_uri).optimize())

    monkeypatch.setattr(rewrite, "failpoint", failpoint)
    lake.slots = 1
    lake.put("2.json", lines({"id": 20}))
    lake.run()
    assert done
    assert ids(lake) == [1, 3, 4, 11, 13, 14, 20]
    assert lake.stray_files() == set()


@pytest.fixture
def mirrored(tmp_path):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, source=MIRROR_TEXT)
    for number in range(7):
        lake.add(f"2024/{number:02d}.json")
    lake.import_well()
    lake.check()
    for number in (1, 2, 5):
        lake.add(f"2024/{number:02d}.json")
    lake.remove(join(lake.source_uri, "2024/03.json"))
    lake.remove(join(lake.source_uri, "2024/06.json"))
    lake.add("2025/new.json")
    return lake


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("name", KILLED_AT)
def test_killed(mirrored, name, count):
    killed = mirrored.run(LAKERAY_FAILPOINTS=f"{name}=kill:{count}")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    mirrored.run_to_the_end()
    assert mirrored.table_ids() == mirrored.ids
    assert mirrored.quarantined() == mirrored.refused
    mirrored.check_folder()


def test_a_change_feed_tells_what_went_and_what_came(tmp_path):
    lake = SmallLake(tmp_path, source=MIRROR, table={"change_data_feed": True})
    for number in range(3):
        lake.put(f"{number}.json", lines({"id": number}, {"id": number + 10}))
    lake.run()
    lake.put("1.json", lines({"id": 20}))
    (lake.raw / "2.json").unlink()
    lake.run()
    feed = pa.table(DeltaTable(lake.table_uri).load_cdf(starting_version=0).read_all())
    found = Counter(zip(feed["_change_type"].to_pylist(), feed["id"].to_pylist(), strict=True))
    expected = [("insert", n) for n in (0, 10, 1, 11, 2, 12, 20)] + [("delete", n) for n in (1, 11, 2, 12)]
    assert found == Counter(expected)
