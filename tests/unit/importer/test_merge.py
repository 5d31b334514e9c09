"""Changes of rows become the table's rows: by key, latest wins, deletes delete, everything is accounted for."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lakeray.delta.files import data_files
from lakeray.delta.table import create_table, open_table, require_table
from lakeray.delta.upkeep import history, restore
from lakeray.errors import ImportFailed, StoreUnavailable, UnsupportedTable
from lakeray.failpoints import CHANGES, EVERY_IMPORT
from lakeray.importer.merge import attempt as merge_attempt
from lakeray.importer.merge import batch as merge_batch
from lakeray.importer.merge.tombstones import tombstones_uri
from lakeray.importer.upkeep.optimize import optimize
from tests.commands import python
from tests.sample_lake import read
from tests.unit.delta.readers import READERS
from tests.unit.importer.small_lake import SmallLake, balance, lines

HINTS = {"schema_hints": {"id": "int64", "seq": "int64", "v": "string", "w": "int64", "op": "string"}}
MERGE = {"mode": "merge", "key": ["id"], "sequence": "seq"}
DELETES = {"delete_when": "op = 'd'", "leave_out": ["op"]}
FEED = {"operation": {"column": "op", "insert": ["i"], "update": ["u"], "delete": ["d"]}}


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path, source=HINTS, plan={**MERGE, **DELETES})


class Neighbour(SmallLake):
    """Another pipeline."""

    def workflow(self):
        return super().workflow().model_copy(update={"workflow": "neighbour"})


def rows(lake):
    return {row["id"]: row["v"] for row in lake.rows("id", "v")}


def test_the_latest_change_of_a_key_is_its_row(lake):
    lake.put("a", lines({"id": 1, "seq": 1, "v": "a"}, {"id": 2, "seq": 1, "v": "b"}, {"id": 1, "seq": 2, "v": "c"}))
    assert balance(lake.run()) == {"read": 3, "written": 2, "deduplicated": 1}
    assert rows(lake) == {1: "c", 2: "b"}
    lake.put("b", lines({"id": 2, "seq": 2, "v": "z"}, {"id": 3, "seq": 1, "v": "n"}, {"id": 1, "seq": 1, "v": "late"}))
    assert balance(lake.run()) == {"read": 3, "written": 2, "deduplicated": 1}
    assert rows(lake) == {1: "c", 2: "z", 3: "n"}
    assert "op" not in lake.schema()
    assert lake.entry("b")["rows_deduplicated"] == 1
    for name, reader in READERS.items():
        assert sorted(reader(lake.table_uri)["id"].to_pylist()) == [1, 2, 3], name


def test_a_delete_wins_over_an_insert_that_it_has_overtaken(lake):
    lake.put("a", lines({"id": 1, "seq": 5, "op": "d"}, {"id": 2, "seq": 1, "v": "x"}))
    lake.run()
    lake.put("b", lines({"id": 1, "seq": 4, "v": "late"}, {"id": 2, "seq": 2, "op": "d"}))
    assert balance(lake.run()) == {"read": 2, "written": 1, "deduplicated": 1}
    assert rows(lake) == {}
    lake.put("c", lines({"id": 1, "seq": 6, "v": "new"}))
    lake.run()
    assert rows(lake) == {1: "new"}


def test_deletes_are_remembered_as_long_as_asked(tmp_path):
    lake = SmallLake(tmp_path, source=HINTS, plan={**MERGE, **DELETES, "remember_deletes": "1d"})
    lake.put("a", lines({"id": 1, "seq": 5, "op": "d"}, {"id": 2, "seq": 5, "op": "d"}, {"id": 3, "seq": 1}))
    lake.run()
    remembered = tombstones_uri(lake.ledger().identity)
    assert sorted(read(remembered)["id"].to_pylist()) == [1, 2]
    lake.now += timedelta(hours=26)
    lake.put("b", lines({"id": 1, "seq": 4, "v": "forgotten too late"}))
    lake.run()
    assert 1 not in rows(lake)
    assert read(remembered).num_rows == 0
    lake.put("c", lines({"id": 2, "seq": 4, "v": "comes back"}))
    lake.run()
    assert rows(lake) == {2: "comes back", 3: None}


def test_rows_without_key_or_sequence_and_unknown_operations_are_quarantined(tmp_path):
    lake = SmallLake(tmp_path, source=HINTS, plan={**MERGE, **FEED})
    lake.put(
        "a", lines({"seq": 1, "op": "i"}, {"id": 1, "op": "i"}, {"id": 2, "seq": 1, "op": "x"}, {"id": 3, "seq": 1})
    )
    lake.put("b", lines({"id": 4, "seq": 1, "op": "i", "v": "good"}))
    assert balance(lake.run()) == {"read": 5, "written": 1, "quarantined": 4}
    assert lake.quarantined("rule") == [
        "constraint:id is not null",
        "constraint:seq is not null",
        "constraint:op is a known operation",
        "constraint:op is a known operation",
    ]
    assert rows(lake) == {4: "good"}


def test_a_delete_needs_no_more_than_its_key_while_other_changes_meet_every_rule(tmp_path):
    step = {"expect": {"filled": {"sql": "v IS NOT NULL", "on_violation": "quarantine"}}}
    lake = SmallLake(tmp_path, source=HINTS, plan={**MERGE, **FEED}, step=step)
    lake.put("a", lines({"id": 1, "seq": 1, "op": "i", "v": "a"}, {"id": 2, "seq": 1, "op": "i"}))
    lake.run()
    lake.put("b", lines({"id": 1, "seq": 2, "op": "d"}, {"id": 3, "seq": 2, "op": "u"}))
    assert balance(lake.run()) == {"read": 2, "written": 1, "quarantined": 1}
    assert rows(lake) == {}


def test_a_partial_update_keeps_what_it_does_not_say(tmp_path):
    lake = SmallLake(tmp_path, source=HINTS, plan={**MERGE, **FEED, "partial": True})
    lake.put("a", lines({"id": 1, "seq": 1, "op": "i", "v": "a", "w": 1}, {"id": 2, "seq": 1, "op": "u", "w": 2}))
    lake.run()
    lake.put("b", lines({"id": 1, "seq": 2, "op": "u", "w": 5}, {"id": 1, "seq": 3, "op": "u", "v": "c"}))
    assert balance(lake.run()) == {"read": 2, "written": 2}
    lake.put("c", lines({"id": 1, "seq": 2, "op": "u", "w": 9}, {"id": 2, "seq": 2, "op": "i", "v": "whole"}))
    assert balance(lake.run()) == {"read": 2, "written": 1, "deduplicated": 1}
    assert sorted(lake.rows("id", "v", "w"), key=lambda row: row["id"]) == [
        {"id": 1, "v": "c", "w": 5},
        {"id": 2, "v": "whole", "w": None},
    ]


def test_partial_updates_into_a_table_that_demands_whole_rows_are_refused(tmp_path):
    lake = SmallLake(tmp_path, source=HINTS, plan={**MERGE, "partial": True})
    fields = [pa.field("id", pa.int64()), pa.field("seq", pa.int64()), pa.field("v", pa.string(), nullable=False)]
    create_table(lake.table_uri, pa.schema(fields))
    lake.put("a", lines({"id": 1, "seq": 1, "v": "a"}))
    with pytest.raises(UnsupportedTable, match="partial"):
        lake.run()


def test_new_columns_join_and_files_that_lack_them_are_written_anew(lake):
    lake.put("a", lines({"id": 1, "seq": 1, "v": "a"}, {"id": 2, "seq": 1, "v": "b"}))
    lake.run()
    lake.put("b", lines({"id": 1, "seq": 2, "v": "c", "more": {"deep": [1, 2]}}))
    lake.run()
    found = {row["id"]: row["more"] for row in lake.rows("id", "more")}
    assert found == {1: {"deep": [1, 2]}, 2: None}


def test_only_files_that_hold_a_key_are_written_anew(lake):
    for name, ids in (("a", range(10)), ("b", range(100, 110)), ("c", range(0, 110, 2))):
        lake.put(name, lines(*({"id": number, "seq": 1, "v": name} for number in ids if name != "c" or number > 9)))
        lake.run()
    before = {file.path for file in data_files(require_table(lake.table_uri))}
    lake.put("d", lines({"id": 105, "seq": 2, "v": "d"}))
    lake.run()
    after = {file.path for file in data_files(require_table(lake.table_uri))}
    # 105 is odd: of the two files whose statistics allow it only one holds it, and only that one is replaced.
    assert len(before - after) == 1
    assert history(lake.table_uri, 1)[0].metrics["numTargetFilesRemoved"] == "1"
    assert history(lake.table_uri, 1)[0].operation == "MERGE"
    assert rows(lake)[105] == "d"


def test_late_changes_write_no_file_anew(lake):
    lake.put("a", lines({"id": 1, "seq": 5, "v": "a"}))
    lake.run()
    before = {file.path for file in data_files(require_table(lake.table_uri))}
    lake.put("b", lines({"id": 1, "seq": 4, "v": "late"}, {"id": 1, "seq": 3, "op": "d"}))
    assert balance(lake.run()) == {"read": 2, "deduplicated": 2}
    assert {file.path for file in data_files(require_table(lake.table_uri))} == before


def test_a_table_of_other_files_is_merged_into_row_by_row(tmp_path):
    """Large row groups, several of them, null keys, types in another layout: what is not changed stays as it was."""
    lake = SmallLake(tmp_path, source=HINTS, plan={**MERGE, **DELETES}, slots=3)
    schema = pa.schema([("id", pa.int64()), ("seq", pa.int64()), ("v", pa.string())])
    create_table(lake.table_uri, schema)
    table = DeltaTable(lake.table_uri)
    ids = [*range(50_000), None, None]
    data = pa.table({"id": ids, "seq": pa.repeat(0, len(ids)), "v": pa.array(["old"] * len(ids), pa.large_string())})
    pq.write_table(data, f"{lake.table_uri}/x.parquet", row_group_size=7_000)
    size = Path(lake.table_uri, "x.parquet").stat().st_size
    from deltalake.transaction import AddAction

    add = AddAction("x.parquet", size, {}, 0, True, json.dumps({"numRecords": len(ids)}))
    table.create_write_transaction([add], "append", table.schema(), [])
    lake.put("a", lines(*({"id": number, "seq": 1, "v": "new"} for number in range(0, 60_000, 100))))
    lake.put("b", lines(*({"id": number, "seq": 1, "op": "d"} for number in range(50, 50_000, 100))))
    lake.run()
    found = {row["id"]: row["v"] for row in lake.rows("id", "v") if row["id"] is not None}
    assert lake.count() == len(found) + 2
    assert found == {
        number: "new" if number % 100 == 0 else "old"
        for number in [*range(50_000), *range(50_000, 60_000, 100)]
        if number % 100 != 50
    }


def test_two_imports_into_one_table_end_as_one_after_the_other(tmp_path):
    """Both merge into the same keys at once; each key ends with the later sequence, whoever wrote it."""
    lakes = [SmallLake(tmp_path / "one", source=HINTS, plan=MERGE), Neighbour(tmp_path / "two", source=HINTS)]
    lakes[1].table = {"uri": lakes[0].table_uri}
    lakes[0].put("a", lines({"id": 0, "seq": 0, "v": "first"}))
    lakes[0].run()
    expected: dict[int, tuple[int, str]] = {0: (0, "first")}
    for number, lake in enumerate(lakes):
        for turn in range(6):
            changes = []
            for key in range(turn % 2, 8, 2):
                seq = 2 * turn + number + 1
                changes.append({"id": key, "seq": seq, "v": f"{number}-{turn}"})
                expected[key] = max(expected.get(key, (0, "")), (seq, f"{number}-{turn}"))
            lake.put(f"o{turn}", lines(*changes))
        lake.plan = {**MERGE, "batch": {"max_objects": 1}}
    failures: list[Exception] = []

    def work(lake):
        try:
            lake.run()
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    contexts = [threading.Thread(target=work, args=(lake,)) for lake in lakes]
    for thread in contexts:
        thread.start()
    for thread in contexts:
        thread.join()
    assert not failures
    assert rows(lakes[0]) == {key: value for key, (_, value) in expected.items()}


@pytest.mark.parametrize("point", ["changes_ordered", "changes_matched", "changes_applied", "before_commit"])
def test_a_writer_in_between_is_merged_with(lake, monkeypatch, point):
    """An append of the very key, a compaction of the very files: the merge is made again on what then is there."""
    lake.put("a", lines({"id": 1, "seq": 1, "v": "a"}))
    lake.run()
    lake.put("b", lines({"id": 2, "seq": 1, "v": "b"}))
    lake.run()
    lake.put("c", lines({"id": 1, "seq": 3, "v": "new"}, {"id": 5, "seq": 3, "v": "five"}))
    passes = []

    def between(name):
        if name == point and not passes:
            passes.append(name)
            optimize(lake.table_uri)
            late = pa.table({"id": [5], "seq": [2], "v": ["other"]})
            from deltalake import write_deltalake

            write_deltalake(lake.table_uri, late, mode="append", schema_mode="merge")

    from lakeray.delta import rewrite

    monkeypatch.setattr(merge_batch, "failpoint", between)
    monkeypatch.setattr(merge_attempt, "failpoint", between)
    monkeypatch.setattr(rewrite, "failpoint", between)
    assert balance(lake.run()) == {"read": 2, "written": 2}
    assert rows(lake) == {1: "new", 2: "b", 5: "five"}
    assert passes
    assert lake.stray_files() == set()


def test_a_batch_planned_in_another_mode_is_finished_in_that_or_not_at_all(lake, monkeypatch):
    lake.put("a", lines({"id": 1, "seq": 1, "v": "a"}))
    lake.run()
    lake.put("b", lines({"id": 1, "seq": 2, "v": "b"}))

    def stop(name):
        raise StoreUnavailable("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(merge_batch, "failpoint", stop)
        with pytest.raises(StoreUnavailable):
            lake.run()
    plan, lake.plan = lake.plan, {"mode": "append"}
    with pytest.raises(ImportFailed, match="planned in mode merge"):
        lake.run()
    lake.plan = plan
    lake.run()
    assert rows(lake) == {1: "b"}


def test_a_key_that_is_not_there_or_cannot_be_compared_is_said(tmp_path):
    lake = SmallLake(tmp_path, source=HINTS, plan={"mode": "merge", "key": ["idd"]})
    lake.put("a", lines({"id": 1, "v": "a", "f": 1.5}))
    with pytest.raises(ImportFailed, match="key column 'idd' is not there") as caught:
        lake.run()
    assert "did you mean 'id'" in (caught.value.hint or "")
    lake.plan = {"mode": "merge", "key": ["f"]}
    with pytest.raises(ImportFailed, match="compared exactly"):
        lake.run()


def test_restored_batches_come_again(lake):
    lake.plan["on_restore"] = "reimport"
    lake.put("a", lines({"id": 1, "seq": 1, "v": "a"}))
    lake.run()
    version = require_table(lake.table_uri).version
    lake.put("b", lines({"id": 1, "seq": 2, "v": "b"}, {"id": 2, "seq": 1, "op": "d"}))
    lake.run()
    restore(lake.table_uri, version)
    assert rows(lake) == {1: "a"}
    lake.run()
    assert rows(lake) == {1: "b"}


def test_what_attempts_leave_on_disk_is_removed(lake):
    for number in range(4):
        lake.put(f"{number}", lines({"id": 1, "seq": number, "v": "x"}, {"id": number, "seq": 1, "op": "d"}))
        lake.run()
    folder = Path(lake.ledger().identity.folder, "changes")
    assert not list(folder.rglob("*.parquet"))
    assert lake.stray_files() == set()


WORKFLOW = """
import json, sys
from pathlib import Path
from tests.unit.importer.small_lake import SmallLake
from tests.unit.importer.test_merge import DELETES, HINTS, MERGE
lake = SmallLake(Path(sys.argv[1]), source=HINTS, plan=json.loads(sys.argv[2]))
lake.run()
"""
PLANS = {
    "merge": {**MERGE, **DELETES, "batch": {"max_objects": 1}},
    "scd2": {**MERGE, **DELETES, "mode": "scd2", "batch": {"max_objects": 1}},
}


@pytest.mark.parametrize("name", [*EVERY_IMPORT, *CHANGES])
@pytest.mark.parametrize("mode", PLANS)
def test_a_kill_at_any_point_loses_nothing_and_repeats_nothing(tmp_path, mode, name):
    """Crash points: every failpoint that an import of changes passes, in its second batch, by SIGKILL."""
    lake = SmallLake(tmp_path, source=HINTS, table={"properties": {"delta.enableChangeDataFeed": "true"}})
    lake.plan = PLANS[mode]
    lake.put("a", lines({"id": 1, "seq": 1, "v": "a"}, {"id": 2, "seq": 1, "v": "b"}, {"seq": 1, "v": "no key"}))
    lake.put("b", lines({"id": 1, "seq": 3, "v": "c"}, {"id": 2, "seq": 2, "op": "d"}, {"seq": 2}))
    lake.put("c", lines({"id": 1, "seq": 2, "v": "late"}, {"id": 3, "seq": 1, "v": "d"}, {"id": 3, "seq": 2, "v": "e"}))

    def run(armed):
        return python(WORKFLOW, str(tmp_path), json.dumps(PLANS[mode]), LAKERAY_FAILPOINTS=armed)

    killed = run(f"{name}=kill:2")
    assert killed.returncode == -9, killed.stderr
    after = run("")
    assert after.returncode == 0, after.stderr
    if mode == "merge":
        assert rows(lake) == {1: "c", 3: "e"}
    else:
        found = {(row["id"], row["valid_from"]): row["valid_to"] for row in lake.rows("id", "valid_from", "valid_to")}
        assert found == {(1, 1): 2, (1, 2): 3, (1, 3): None, (2, 1): 2, (3, 1): 2, (3, 2): None}
    assert sorted(lake.quarantined("batch")) == [1, 2]
    assert open_table(lake.quarantine_uri) is not None
