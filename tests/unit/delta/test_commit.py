"""A batch becomes visible exactly once.

Crash points covered here: killed before the commit is sent, killed after it happened, its reply lost (also with a
compaction between), a handle made stale by another's commit of the same batch, a frozen importer that wakes after its
batch and the next were committed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lakeray.delta import commit as commit_module
from lakeray.delta.commit import commit_once, record_rows
from lakeray.delta.staged import StagedFile
from lakeray.delta.table import create_table, require_table
from lakeray.delta.turn import NONCE, Committed
from lakeray.delta.upkeep import live_files, restore, restores_since
from lakeray.delta.writer import StagedWriter
from lakeray.errors import ExactlyOnceError, StoreUnavailable, TableError, UnsupportedTable
from lakeray.importer.upkeep.optimize import optimize
from tests.unit.delta.readers import READERS, with_delta_rs

SCHEMA = pa.schema([("n", pa.int64())])
APP = "lakeray/pipeline/step/table"


def stage(uri: str, values: list[int], prefix: str) -> list[StagedFile]:
    writer = StagedWriter(uri, schema=SCHEMA, partition_by=[], prefix=prefix)
    writer.write(pa.table({"n": pa.array(values, pa.int64())}))
    return writer.close()


def commit(uri: str, number: int, values: list[int], prefix: str = "a", **options: Any) -> Committed:
    options.setdefault("previous", number - 1 or None)
    options.setdefault("app_id", APP)
    files = stage(uri, values, f"{prefix}-{number}-{uuid.uuid4().hex}")
    return commit_once(uri, number=number, files=files, metadata={"lakeray.result": f"{prefix}-{number}"}, **options)


def numbers(uri: str) -> list[int]:
    return sorted(with_delta_rs(uri)["n"].to_pylist())


@pytest.fixture
def uri(tmp_path: Path) -> str:
    create_table(str(tmp_path / "t"), SCHEMA)
    return str(tmp_path / "t")


def test_batches_follow_each_other_and_every_reader_sees_them(uri: str) -> None:
    assert commit(uri, 1, [1, 2]) == Committed(version=1, won=True, metadata=commit_metadata(uri, 1))
    assert commit(uri, 2, [3]).version == 2
    for name, read in READERS.items():
        assert sorted(read(uri)["n"].to_pylist()) == [1, 2, 3], name


def commit_metadata(uri: str, number: int) -> dict[str, str]:
    return commit_once(uri, app_id=APP, number=number, previous=None, files=[]).metadata


def test_the_same_batch_again_changes_nothing_and_names_the_winner(uri: str) -> None:
    commit(uri, 1, [1, 2], prefix="winner")
    again = commit(uri, 1, [1, 2], prefix="loser")
    assert (again.version, again.won, again.metadata["lakeray.result"]) == (1, False, "winner-1")
    assert numbers(uri) == [1, 2]


def test_two_tables_worth_of_applications_do_not_disturb_each_other(uri: str) -> None:
    commit(uri, 1, [1])
    commit(uri, 1, [2], app_id="other")
    commit(uri, 2, [3])
    assert numbers(uri) == [1, 2, 3]


def interrupt(monkeypatch: pytest.MonkeyPatch, name: str, action: Callable[[], None], times: int = 1) -> None:
    """Run ``action`` at the failpoint ``name``, on its first passes."""
    left = [times]

    def failpoint(reached: str) -> None:
        if reached == name and left[0]:
            left[0] -= 1
            action()

    monkeypatch.setattr(commit_module, "failpoint", failpoint)


def drop() -> None:
    raise StoreUnavailable("the reply was dropped")


def test_a_stale_handle_after_anothers_commit_of_the_same_batch_loses(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, "before_commit", lambda: commit(uri, 1, [1, 2], prefix="rival") and None)
    done = commit(uri, 1, [1, 2], prefix="mine", failpoints=True)
    assert (done.won, done.metadata["lakeray.result"]) == (False, "rival-1")
    assert numbers(uri) == [1, 2]


def test_a_stale_handle_after_other_commits_still_wins(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Appends of other applications do not disturb, and the version is the one the commit really got."""
    interrupt(monkeypatch, "before_commit", lambda: [commit(uri, n, [n], app_id="other") for n in (1, 2, 3)] and None)
    done = commit(uri, 1, [10], failpoints=True)
    assert (done.won, done.version) == (True, 4)
    assert numbers(uri) == [1, 2, 3, 10]


def test_a_stale_handle_after_a_change_of_schema_starts_again(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakeray.delta.table import add_columns

    interrupt(monkeypatch, "before_commit", lambda: add_columns(uri, [pa.field("new", pa.string())]) and None)
    assert commit(uri, 1, [10], failpoints=True).won
    assert numbers(uri) == [10]


def test_a_lost_reply_repeats_nothing(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, "commit_reply", drop)
    done = commit(uri, 1, [1, 2], failpoints=True)
    assert (done.won, done.version) == (True, 1)
    assert numbers(uri) == [1, 2]


def test_a_lost_reply_and_a_compaction_before_the_retry_repeat_nothing(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(uri, 1, [1])
    commit(uri, 2, [2])

    def compact_and_drop() -> None:
        assert optimize(uri).files_removed == 3
        drop()

    interrupt(monkeypatch, "commit_reply", compact_and_drop)
    done = commit(uri, 3, [3], failpoints=True)
    assert (done.won, done.version) == (True, 3)
    assert numbers(uri) == [1, 2, 3]


def test_replies_that_are_always_lost_before_the_commit_end_in_an_error(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, "before_commit", drop, times=1000)
    pauses: list[float] = []
    with pytest.raises(StoreUnavailable):
        commit(uri, 1, [1], failpoints=True, sleep=pauses.append)
    assert 3 <= len(pauses) <= 20
    assert sum(pauses) < 10
    assert numbers(uri) == []


def test_a_frozen_importer_that_wakes_after_the_next_batch_commits_nothing(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def others_go_on() -> None:
        commit(uri, 1, [1], prefix="other")
        commit(uri, 2, [2], prefix="other")
        optimize(uri)

    interrupt(monkeypatch, "before_commit", others_go_on)
    done = commit(uri, 1, [1], prefix="frozen", failpoints=True)
    assert (done.won, done.version, done.metadata["lakeray.result"]) == (False, 1, "other-1")
    assert numbers(uri) == [1, 2]


def test_a_commit_without_files_takes_the_number(uri: str) -> None:
    assert commit_once(uri, app_id=APP, number=1, previous=None, files=[]).won
    assert commit(uri, 2, [2]).won
    assert numbers(uri) == [2]


@pytest.mark.parametrize(
    ("number", "previous", "message"),
    [
        (4, 2, "cannot follow batch 2"),
        (3, 5, "has recorded batch 5"),
        (7, None, "cannot follow batch 2"),
    ],
)
def test_numbers_that_contradict_the_ledger_stop(uri: str, number: int, previous: int | None, message: str) -> None:
    commit(uri, 1, [1])
    commit(uri, 2, [2])
    with pytest.raises(ExactlyOnceError, match=message) as caught:
        commit(uri, number, [9], previous=previous)
    assert caught.value.hint
    assert caught.value.uri == uri
    assert numbers(uri) == [1, 2]


def test_a_recreated_table_is_not_filled_on(uri: str) -> None:
    with pytest.raises(ExactlyOnceError, match="knows none"):
        commit(uri, 3, [3], previous=2)
    assert numbers(uri) == []


def test_sparse_numbers_are_for_tables_beside_the_main_one(uri: str) -> None:
    assert commit(uri, 5, [5], previous=None, dense=False).won
    assert commit(uri, 9, [9], previous=None, dense=False).won
    assert not commit(uri, 5, [5], previous=None, dense=False).won
    with pytest.raises(ExactlyOnceError, match="does not hold"):
        commit(uri, 7, [7], previous=None, dense=False)
    assert numbers(uri) == [5, 9]


def test_a_batch_that_the_log_no_longer_describes_is_said_so(uri: str) -> None:
    commit(uri, 1, [1])
    commit(uri, 1, [1], app_id="other")
    table = DeltaTable(uri)
    table.create_checkpoint()
    for version in (0, 1):
        Path(uri, "_delta_log", f"{version:020d}.json").unlink()
    with pytest.raises(ExactlyOnceError, match="no longer says what it did"):
        commit(uri, 1, [1])


def test_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no table"):
        commit_once(str(tmp_path / "none"), app_id=APP, number=1, previous=None, files=[])


def test_overwrite_replaces_everything_and_keeps_the_table(uri: str) -> None:
    before = require_table(uri)
    commit(uri, 1, [1, 2])
    commit(uri, 1, [5], app_id="other")
    assert commit(uri, 2, [3], mode="overwrite").version == 3
    assert numbers(uri) == [3]
    after = require_table(uri)
    assert (after.id, after.schema, after.transaction_version("other")) == (before.id, before.schema, 1)


def test_overwrite_takes_away_what_was_appended_meanwhile(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is computed anew on what is there: nothing between the look and the commit survives half."""
    commit(uri, 1, [1])
    interrupt(monkeypatch, "before_commit", lambda: commit(uri, 1, [7], app_id="other") and None)
    done = commit(uri, 2, [3], mode="overwrite", failpoints=True)
    assert (done.won, done.version) == (True, 3)
    assert numbers(uri) == [3]


def test_overwrite_beside_a_compaction_leaves_no_row_behind(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delta-rs accepts a remove of a file that compaction replaced: old rows would come back."""
    commit(uri, 1, [1])
    commit(uri, 2, [2])
    interrupt(monkeypatch, "before_commit", lambda: optimize(uri) and None)
    assert commit(uri, 3, [3], mode="overwrite", failpoints=True).won
    assert numbers(uri) == [3]
    assert len(live_files(uri)) == 1


def test_a_lost_reply_of_an_overwrite_repeats_nothing(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def append_and_drop() -> None:
        commit(uri, 1, [7], app_id="other")
        drop()

    interrupt(monkeypatch, "commit_reply", append_and_drop)
    assert commit(uri, 1, [3], mode="overwrite", failpoints=True).version == 1
    assert numbers(uri) == [3, 7]


def test_overwrite_of_an_append_only_table_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    create_table(uri, SCHEMA, properties={"delta.appendOnly": "true"})
    assert commit(uri, 1, [1]).won
    with pytest.raises(UnsupportedTable, match="append-only"):
        commit(uri, 2, [2], mode="overwrite")
    assert numbers(uri) == [1]


def test_a_restore_keeps_the_number_and_is_seen_in_the_history(uri: str) -> None:
    commit(uri, 1, [1])
    commit(uri, 2, [2])
    restore(uri, 1)
    assert numbers(uri) == [1]
    assert not commit(uri, 2, [2]).won, "skipping on the number alone would lose batch 2"
    (found,) = restores_since(uri, 2)
    assert (found.at_version, found.to_version) == (3, 1)


def test_checkpoints_come_at_the_tables_interval_and_numbers_survive_them(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    create_table(uri, SCHEMA, properties={"delta.checkpointInterval": "5"})
    for number in range(1, 12):
        commit(uri, number, [number])
    assert len(list(Path(uri, "_delta_log").glob("*.checkpoint.parquet"))) == 2
    assert require_table(uri).transaction_version(APP) == 11
    assert numbers(uri) == list(range(1, 12))


def test_a_checkpoint_that_fails_does_not_fail_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "t")
    create_table(uri, SCHEMA, properties={"delta.checkpointInterval": "1"})

    def full(self: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DeltaTable, "create_checkpoint", full)
    assert commit(uri, 1, [1]).won
    assert numbers(uri) == [1]


def test_record_rows_writes_once(uri: str) -> None:
    table = pa.table({"n": [1, 2]})
    first = record_rows(uri, table, app_id="ledger", number=3)
    again = record_rows(uri, table, app_id="ledger", number=3)
    assert (first.won, again.won, again.version) == (True, False, first.version)
    assert numbers(uri) == [1, 2]
    assert len(list(Path(uri).glob("*.parquet"))) == 1
    assert again.metadata[NONCE] == first.metadata[NONCE]


def test_record_rows_that_lost_the_race_leaves_no_file(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"n": [1]})
    plain = commit_module.commit_once

    def late(*args: Any, **options: Any) -> Committed:
        monkeypatch.setattr(commit_module, "commit_once", plain)
        record_rows(uri, table, app_id="ledger", number=1)
        return plain(*args, **options)

    monkeypatch.setattr(commit_module, "commit_once", late)
    assert not record_rows(uri, table, app_id="ledger", number=1).won
    assert numbers(uri) == [1]
    assert len(list(Path(uri).glob("*.parquet"))) == 1


SCRIPT = """
import sys
import pyarrow as pa
from lakeray.delta.commit import commit_once
from lakeray.delta.writer import StagedWriter
uri = sys.argv[1]
writer = StagedWriter(uri, schema=pa.schema([("n", pa.int64())]), partition_by=[], prefix=sys.argv[2])
writer.write(pa.table({"n": [1, 2]}))
options = {"app_id": "lakeray/pipeline/step/table", "number": 1, "previous": None, "failpoints": True}
done = commit_once(uri, files=writer.close(), **options)
print(done.version, done.won)
"""


@pytest.mark.parametrize(("name", "committed"), [("before_commit", False), ("commit_reply", True)])
def test_a_kill_at_each_side_of_the_commit_is_made_good_by_the_next_try(uri: str, name: str, committed: bool) -> None:
    def run(prefix: str, armed: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LAKERAY_FAILPOINTS": armed}
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, uri, prefix],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert run("first", f"{name}=kill").returncode == -signal.SIGKILL
    assert numbers(uri) == ([1, 2] if committed else [])
    second = run("second", "")
    assert second.stdout.split() == ["1", str(not committed)], second.stderr
    assert numbers(uri) == [1, 2]


def test_the_failpoint_error_is_a_lost_reply(uri: str) -> None:
    environment = {**os.environ, "LAKERAY_FAILPOINTS": "commit_reply=error"}
    command = [sys.executable, "-c", SCRIPT, uri, "only"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "True"]
    assert numbers(uri) == [1, 2]
