"""What lakeray rests on in delta-rs: a release that breaks one of these facts is noticed here first.

Each test states a behaviour of ``deltalake`` itself, found by trial. Where it is not what one would expect, the test
says what lakeray does about it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from tests.unit.delta.readers import with_delta_rs

SCHEMA = pa.schema([("n", pa.int64())])


@pytest.fixture
def uri(tmp_path: Path) -> str:
    DeltaTable.create(str(tmp_path / "t"), SCHEMA)
    return str(tmp_path / "t")


def add(uri: str, name: str, values: Sequence[int | None]) -> AddAction:
    path = Path(uri, name)
    pq.write_table(pa.table({"n": pa.array(values, pa.int64())}), path)
    return AddAction(
        name, path.stat().st_size, {}, int(time.time() * 1000), True, json.dumps({"numRecords": len(values)})
    )


def send(
    table: DeltaTable,
    actions: list[Any],
    *,
    mode: str = "append",
    txn: tuple[str, int] | None = None,
    retries: int | None = None,
    schema: Any = None,
    **metadata: str,
) -> None:
    table.create_write_transaction(
        actions,
        mode,
        schema or table.schema(),
        [],
        commit_properties=CommitProperties(
            custom_metadata=metadata or None,
            max_commit_retries=retries,
            app_transactions=[Transaction(*txn)] if txn else None,
        ),
    )


def numbers(uri: str) -> list[int]:
    return sorted(with_delta_rs(uri)["n"].to_pylist())


def test_1_a_lower_number_is_accepted_from_a_fresh_handle(uri: str) -> None:
    """So the number must be checked before the commit."""
    for number in (5, 5, 3):
        send(DeltaTable(uri), [], txn=("app", number))
    assert DeltaTable(uri).version() == 3
    assert DeltaTable(uri).transaction_version("app") == 3


def test_1_a_handle_older_than_anothers_commit_of_the_application_is_refused(uri: str) -> None:
    """So check and commit through one handle are a compare-and-set."""
    old = DeltaTable(uri)
    send(DeltaTable(uri), [], txn=("app", 1))
    with pytest.raises(CommitFailedError):
        send(old, [add(uri, "a.parquet", [1])], txn=("app", 1), retries=200)
    with pytest.raises(CommitFailedError):
        send(old, [add(uri, "a.parquet", [1])], txn=("app", 2), retries=200)
    send(old, [], txn=("other", 1), retries=200)


def test_the_handle_does_not_move_with_its_commit(uri: str) -> None:
    """So the committed version is read from the log."""
    table = DeltaTable(uri)
    send(table, [], txn=("app", 1))
    assert (table.version(), table.transaction_version("app")) == (0, None)


def test_history_counts_versions_from_a_stale_handle_wrongly(uri: str) -> None:
    """So the log's own file names are used to name versions."""
    table = DeltaTable(uri)
    send(DeltaTable(uri), [], mark="one")
    assert [(entry["version"], entry["operation"]) for entry in table.history()] == [(0, "WRITE"), (-1, "CREATE TABLE")]


def test_2_not_null_is_not_checked_by_a_commit_and_3_breaks_the_table(tmp_path: Path) -> None:
    """So workers check it."""
    uri = str(tmp_path / "t")
    DeltaTable.create(uri, pa.schema([pa.field("n", pa.int64(), nullable=False)]))
    send(DeltaTable(uri), [add(uri, "a.parquet", [1, None])])
    with pytest.raises(Exception, match=r"(?i)null"):
        with_delta_rs(uri)


def test_2_constraints_are_not_checked_by_a_commit(uri: str) -> None:
    DeltaTable(uri).alter.add_constraint({"positive": "n > 0"})
    send(DeltaTable(uri), [add(uri, "a.parquet", [-1])])
    assert numbers(uri) == [-1]


def test_4_adding_a_live_path_again_is_harmless_until_compaction(uri: str) -> None:
    actions = [add(uri, "a.parquet", [1, 2]), add(uri, "b.parquet", [3])]
    send(DeltaTable(uri), actions)
    send(DeltaTable(uri), actions)
    assert numbers(uri) == [1, 2, 3]
    DeltaTable(uri).optimize.compact()
    send(DeltaTable(uri), actions)
    assert numbers(uri) == [1, 1, 2, 2, 3, 3]


def test_5_restore_keeps_the_number_drops_the_rows_and_shows_in_the_history(uri: str) -> None:
    send(DeltaTable(uri), [add(uri, "a.parquet", [1])], txn=("app", 1))
    DeltaTable(uri).restore(0)
    table = DeltaTable(uri)
    assert numbers(uri) == []
    assert table.transaction_version("app") == 1
    (entry, *_) = table.history(1)
    assert (entry["operation"], entry["operationParameters"]) == ("RESTORE", {"version": "0"})


def test_6_numbers_survive_checkpoints_and_overwrites(uri: str) -> None:
    send(DeltaTable(uri), [add(uri, "a.parquet", [1])], txn=("app", 7))
    DeltaTable(uri).create_checkpoint()
    write_deltalake(uri, pa.table({"n": [2]}), mode="overwrite")
    DeltaTable(uri).create_checkpoint()
    Path(uri, "_delta_log", f"{1:020d}.json").unlink()
    assert DeltaTable(uri).transaction_version("app") == 7


def test_6_numbers_vanish_after_their_retention(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    properties = {"delta.setTransactionRetentionDuration": "interval 0 seconds"}
    DeltaTable.create(uri, SCHEMA, configuration=properties)
    DeltaTable(uri).create_write_transaction(
        [], "append", SCHEMA, commit_properties=CommitProperties(app_transactions=[Transaction("app", 1, 1)])
    )
    assert DeltaTable(uri).transaction_version("app") is None


def test_7_full_vacuum_sees_staged_files_and_leaves_underscored_folders_alone(uri: str) -> None:
    Path(uri, "_lakeray").mkdir()
    for name in ("staged.parquet", "_lakeray/ledger.parquet"):
        Path(uri, name).write_bytes(b"x")
    options = {"retention_hours": 0, "enforce_retention_duration": False, "dry_run": True}
    assert DeltaTable(uri).vacuum(**options) == []
    assert DeltaTable(uri).vacuum(**options, full=True) == ["staged.parquet"]


def test_13_a_wider_schema_is_ignored_by_an_append(uri: str) -> None:
    """So columns are added first, in a commit of their own."""
    send(DeltaTable(uri), [], schema=pa.schema([*SCHEMA, ("new", pa.int64())]))
    assert pa.schema(DeltaTable(uri).schema().to_arrow()).names == ["n"]


def test_13_added_columns_make_older_handles_stale(uri: str) -> None:
    old = DeltaTable(uri)
    DeltaTable(uri).alter.add_columns([Field("new", "integer")])
    DeltaTable(uri).alter.add_columns([Field("new", "integer")])
    assert DeltaTable(uri).version() == 2, "adding the same column again is a commit too"
    with pytest.raises(CommitFailedError):
        send(old, [add(uri, "a.parquet", [1])], retries=200)
    with pytest.raises(SchemaMismatchError):
        DeltaTable(uri).alter.add_columns([Field("new", "string")])


def test_14_removing_what_compaction_replaced_is_accepted_unless_retries_are_off(uri: str) -> None:
    """So an overwrite commits with no retries on the handle that it looked at."""
    send(DeltaTable(uri), [add(uri, "a.parquet", [1]), add(uri, "b.parquet", [2])])
    old = DeltaTable(uri)
    DeltaTable(uri).optimize.compact()
    remove = RemoveAction("a.parquet", True, int(time.time() * 1000))
    with pytest.raises(CommitFailedError):
        send(old, [remove, add(uri, "c.parquet", [10])], retries=0)
    with pytest.raises(CommitFailedError):
        send(old, [add(uri, "c.parquet", [10])], mode="overwrite", retries=0)
    send(old, [remove, add(uri, "c.parquet", [10])], retries=200)
    assert numbers(uri) == [1, 2, 10]


def test_15_gaps_in_numbers_and_commits_of_a_number_alone_are_accepted(uri: str) -> None:
    send(DeltaTable(uri), [], txn=("app", 2))
    send(DeltaTable(uri), [], txn=("app", 9))
    assert DeltaTable(uri).transaction_version("app") == 9


def test_15_a_zombie_on_a_cleaned_up_log_is_refused(uri: str) -> None:
    zombie = DeltaTable(uri)
    for number in range(1, 4):
        send(DeltaTable(uri), [add(uri, f"{number}.parquet", [number])], txn=("app", number))
    DeltaTable(uri).create_checkpoint()
    for version in range(3):
        Path(uri, "_delta_log", f"{version:020d}.json").unlink()
    with pytest.raises((CommitFailedError, DeltaError)):
        send(zombie, [add(uri, "z.parquet", [99])], txn=("app", 1), retries=200)
    assert numbers(uri) == [1, 2, 3]


def test_compaction_keeps_numbers_and_metadata_is_flat(uri: str) -> None:
    send(DeltaTable(uri), [add(uri, "a.parquet", [1])], txn=("app", 1), **{"lakeray.result": "x"})
    send(DeltaTable(uri), [add(uri, "b.parquet", [2])])
    assert DeltaTable(uri).optimize.compact()["numFilesRemoved"] == 2
    assert DeltaTable(uri).transaction_version("app") == 1
    first = Path(uri, "_delta_log", f"{1:020d}.json").read_text().splitlines()[0]
    assert json.loads(first)["commitInfo"]["lakeray.result"] == "x"


def test_paths_are_percent_encoded_in_the_log_and_in_listings_of_adds(uri: str) -> None:
    send(DeltaTable(uri), [add(uri, "a b%20é.parquet", [1])])
    assert numbers(uri) == [1]
    assert pa.table(DeltaTable(uri).get_add_actions())["path"].to_pylist() == ["a%20b%2520%C3%A9.parquet"]


def test_a_hook_can_be_switched_off(tmp_path: Path) -> None:
    """So a checkpoint that fails after the commit cannot look like a commit that failed."""
    uri = str(tmp_path / "t")
    DeltaTable.create(uri, SCHEMA, configuration={"delta.checkpointInterval": "1"})
    off = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
    DeltaTable(uri).create_write_transaction([], "append", SCHEMA, post_commithook_properties=off)
    assert not list(Path(uri, "_delta_log").glob("*.checkpoint*"))


def test_a_creator_that_lost_commits_a_second_create_unless_retries_are_off(tmp_path: Path) -> None:
    """So tables are created without retries. The race itself is rare: many threads, many rounds, stop at the first."""

    def race(uri: str, properties: CommitProperties | None) -> int:
        gate = threading.Barrier(6)

        def create() -> None:
            gate.wait()
            with suppress(Exception):
                DeltaTable.create(uri, SCHEMA, mode="error", commit_properties=properties)

        threads = [threading.Thread(target=create) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(list(Path(uri, "_delta_log").glob("*.json")))

    assert any(race(str(tmp_path / f"with-{k}"), None) > 1 for k in range(200))
    assert {race(str(tmp_path / f"without-{k}"), CommitProperties(max_commit_retries=0)) for k in range(30)} == {1}


def test_absent_tables_make_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TableNotFoundError):
        DeltaTable(str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pa.timestamp("us"), "2020-01-02T03:04:05.000000"),
        (pa.decimal128(10, 2), "3"),
    ],
)
def test_partition_values_are_parsed_strictly(kind: pa.DataType, text: str, tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    DeltaTable.create(uri, pa.schema([("n", pa.int64()), ("p", kind)]), partition_by=["p"])
    table = DeltaTable(uri)
    with pytest.raises(DeltaError, match="Failed to parse"):
        table.create_write_transaction([AddAction("x", 1, {"p": text}, 1, True, "{}")], "append", table.schema(), ["p"])


@pytest.mark.parametrize(
    "kind", [pa.time64("us"), pa.duration("us"), pa.decimal256(40, 2), pa.float16(), pa.month_day_nano_interval()]
)
def test_11_types_without_a_counterpart_are_refused(kind: pa.DataType, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r".+"):
        DeltaTable.create(str(tmp_path / "t"), pa.schema([("v", kind)]))


def test_parquet_bounds_do_not_tell_of_nan(tmp_path: Path) -> None:
    """So the writer looks for NaN itself."""
    pq.write_table(pa.table({"f": [1.0, float("nan")]}), tmp_path / "x.parquet")
    statistics = pq.read_metadata(tmp_path / "x.parquet").row_group(0).column(0).statistics
    assert (statistics.min, statistics.max, statistics.null_count) == (1.0, 1.0, 0)
