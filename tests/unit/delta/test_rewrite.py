"""A commit that removes files happens exactly once, on what it was planned on.

Crash points covered here: killed before the log entry is created and after it was, its reply lost (also with another
commit between), a rival that makes the version first: an append of delta-rs, a compaction that replaces the very files,
another rewrite, another attempt at the same batch, a change of schema.
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
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from lakeray.delta import commit as commit_module
from lakeray.delta import rewrite as rewrite_module
from lakeray.delta.commit import commit_once
from lakeray.delta.files import data_files
from lakeray.delta.rewrite import Rewrite, commit_rewrite
from lakeray.delta.staged import StagedFile
from lakeray.delta.table import TableHandle, add_columns, create_table, require_table
from lakeray.delta.turn import Committed
from lakeray.delta.upkeep import history
from lakeray.delta.writer import StagedWriter
from lakeray.errors import ExactlyOnceError, StoreUnavailable, UnsupportedTable
from lakeray.importer.upkeep.optimize import optimize
from tests.unit.delta.readers import READERS, with_delta_rs

SCHEMA = pa.schema([("n", pa.int64())])
APP = "lakeray/pipeline/step/table"


def stage(uri: str, values: list[int], prefix: str = "a") -> list[StagedFile]:
    writer = StagedWriter(uri, schema=SCHEMA, partition_by=[], prefix=f"{prefix}-{uuid.uuid4().hex}")
    writer.write(pa.table({"n": pa.array(values, pa.int64())}))
    return writer.close()


def numbers(uri: str) -> list[int]:
    return sorted(with_delta_rs(uri)["n"].to_pylist())


def append(uri: str, *values: int) -> None:
    """By delta-rs itself, one file."""
    write_deltalake(uri, pa.table({"n": pa.array(values, pa.int64())}), mode="append")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Three files: 1 and 2, 3 and 4, 5 and 6."""
    made = str(tmp_path / "t")
    create_table(made, SCHEMA)
    for first in (1, 3, 5):
        append(made, first, first + 1)
    return made


class Raise:
    """A plan: every number between ``low`` and ``high`` becomes ten times as large."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.calls = 0

    def __call__(self, handle: TableHandle) -> Rewrite:
        self.calls += 1
        removes = [file for file in data_files(handle, ["n"]) if self.hits(file)]
        adds = []
        for file in removes:
            values = pa.parquet.read_table(f"{handle.uri}/{file.path}")["n"].to_pylist()
            adds += stage(handle.uri, [value * 10 if self.low <= value <= self.high else value for value in values])
        return Rewrite(
            adds=adds,
            removes=removes,
            metrics={"numTargetFilesRemoved": len(removes)},
            metadata={"lakeray.result": f"{self.low}-{self.calls}"},
        )

    def hits(self, file: Any) -> bool:
        bounds = file.bounds["n"]
        return bool(bounds.low <= self.high and bounds.high >= self.low)

    def concerns(self, files: Any) -> bool:
        return any(self.hits(file) for file in files)


def rewrite(uri: str, plan: Raise, number: int = 1, **options: Any) -> Committed:
    options.setdefault("app_id", APP)
    options.setdefault("previous", number - 1 or None)
    return commit_rewrite(
        uri, number=number, plan=plan, operation="UPDATE", concerns=plan.concerns, columns=["n"], **options
    )


def interrupt(monkeypatch: pytest.MonkeyPatch, name: str, action: Callable[[], Any], times: int = 1) -> None:
    """Run ``action`` at the failpoint ``name``, on its first passes."""
    left = [times]

    def failpoint(reached: str) -> None:
        if reached == name and left[0]:
            left[0] -= 1
            action()

    monkeypatch.setattr(rewrite_module, "failpoint", failpoint)


def drop() -> None:
    raise StoreUnavailable("the reply was dropped")


def test_files_go_and_come_in_one_version_and_every_reader_agrees(uri: str) -> None:
    done = rewrite(uri, Raise(3, 3))
    assert (done.version, done.won, done.metadata["lakeray.result"]) == (4, True, "3-1")
    for name, read in READERS.items():
        assert sorted(read(uri)["n"].to_pylist()) == [1, 2, 4, 5, 6, 30], name
    assert len(data_files(require_table(uri))) == 3


def test_the_history_tells_what_was_done(uri: str) -> None:
    rewrite(uri, Raise(3, 3), parameters={"predicate": "n = 3"}, metadata={"lakeray.batch": "1"})
    (entry,) = history(uri, 1)
    assert (entry.operation, entry.parameters, entry.metrics) == (
        "UPDATE",
        {"predicate": "n = 3"},
        {"numTargetFilesRemoved": "1"},
    )
    assert entry.metadata["lakeray.batch"] == "1"
    assert DeltaTable(uri).history(1)[0]["operation"] == "UPDATE"
    assert DeltaTable(uri).history(1)[0]["operationMetrics"]


def test_the_same_batch_again_changes_nothing_and_names_the_winner(uri: str) -> None:
    rewrite(uri, Raise(3, 3))
    plan = Raise(3, 3)
    again = rewrite(uri, plan)
    assert (again.version, again.won, again.metadata["lakeray.result"], plan.calls) == (4, False, "3-1", 0)


def test_numbers_that_contradict_the_table_stop_before_anything_is_planned(uri: str) -> None:
    plan = Raise(3, 3)
    with pytest.raises(ExactlyOnceError, match="cannot follow"):
        rewrite(uri, plan, number=3, previous=None)
    assert plan.calls == 0


def test_a_plan_of_nothing_takes_the_number(uri: str) -> None:
    assert rewrite(uri, Raise(100, 100)).won
    assert require_table(uri).transaction_version(APP) == 1


def test_an_append_that_matters_not_does_not_repeat_the_plan(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Raise(3, 3)
    interrupt(monkeypatch, "before_commit", lambda: append(uri, 100))
    done = rewrite(uri, plan, failpoints=True)
    assert (done.version, plan.calls) == (5, 1)
    assert numbers(uri) == [1, 2, 4, 5, 6, 30, 100]


def test_an_append_that_matters_is_planned_in(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Raise(3, 3)
    interrupt(monkeypatch, "before_commit", lambda: append(uri, 3))
    done = rewrite(uri, plan, failpoints=True)
    assert (done.version, plan.calls) == (5, 2)
    assert numbers(uri) == [1, 2, 4, 5, 6, 30, 30]


def test_a_compaction_of_the_very_files_brings_no_row_back(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Raise(3, 3)
    interrupt(monkeypatch, "before_commit", lambda: optimize(uri))
    assert rewrite(uri, plan, failpoints=True).won
    assert plan.calls == 2
    assert numbers(uri) == [1, 2, 4, 5, 6, 30]


def test_another_rewrite_of_the_same_file_comes_first_or_second_never_half(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Raise(3, 3)
    interrupt(monkeypatch, "before_commit", lambda: rewrite(uri, Raise(3, 4), app_id="other"))
    assert rewrite(uri, plan, failpoints=True).won
    assert plan.calls == 2
    assert numbers(uri) == [1, 2, 5, 6, 30, 40]


def test_another_attempt_at_the_same_batch_wins_alone(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, "before_commit", lambda: rewrite(uri, Raise(3, 4)))
    done = rewrite(uri, Raise(3, 3), failpoints=True)
    assert not done.won
    assert numbers(uri) == [1, 2, 5, 6, 30, 40]


def test_a_change_of_schema_is_planned_in(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Raise(3, 3)
    interrupt(monkeypatch, "before_commit", lambda: add_columns(uri, [pa.field("new", pa.string())]))
    assert rewrite(uri, plan, failpoints=True).won
    assert plan.calls == 2


def test_a_lost_reply_repeats_nothing(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def append_and_drop() -> None:
        append(uri, 3)
        drop()

    interrupt(monkeypatch, "commit_reply", append_and_drop)
    plan = Raise(3, 3)
    done = rewrite(uri, plan, failpoints=True)
    assert (done.version, done.won, plan.calls) == (4, True, 1)
    assert numbers(uri) == [1, 2, 3, 4, 5, 6, 30]


def test_replies_that_are_always_lost_end_in_an_error(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, "before_commit", drop, times=1000)
    with pytest.raises(StoreUnavailable):
        rewrite(uri, Raise(3, 3), failpoints=True, sleep=lambda _: None)
    assert numbers(uri) == [1, 2, 3, 4, 5, 6]


def test_a_stale_append_goes_through_beside_it(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other direction: delta-rs replays what only adds on top of a rewrite."""
    monkeypatch.setattr(
        commit_module, "failpoint", lambda name: rewrite(uri, Raise(3, 3)) if name == "before_commit" else None
    )
    done = commit_once(uri, app_id="b", number=1, previous=None, files=stage(uri, [7]), failpoints=True)
    assert done.version == 5
    assert numbers(uri) == [1, 2, 4, 5, 6, 7, 30]


@pytest.mark.parametrize("work", ["delete", "update", "merge", "compact", "overwrite"])
def test_a_stale_change_by_delta_rs_of_a_rewritten_file_is_refused(uri: str, work: str) -> None:
    stale = DeltaTable(uri)
    rewrite(uri, Raise(3, 3))
    never = CommitProperties(max_commit_retries=0)
    rows = pa.table({"n": pa.array([3], pa.int64())})
    works: dict[str, Callable[[], Any]] = {
        "delete": lambda: stale.delete("n = 3", commit_properties=never),
        "update": lambda: stale.update({"n": "33"}, predicate="n = 3", commit_properties=never),
        "merge": lambda: (
            stale.merge(rows, "t.n = s.n", source_alias="s", target_alias="t", commit_properties=never)
            .when_matched_delete()
            .execute()
        ),
        "compact": lambda: stale.optimize.compact(commit_properties=never),
        "overwrite": lambda: write_deltalake(stale, rows, mode="overwrite", commit_properties=never),
    }
    with pytest.raises(CommitFailedError):
        works[work]()
    assert numbers(uri) == [1, 2, 4, 5, 6, 30]


def test_odd_partition_values_and_paths_are_removed_as_the_log_spells_them(tmp_path: Path) -> None:
    uri = str(tmp_path / "t é")
    schema = pa.schema([("p", pa.string()), ("f", pa.float64()), ("n", pa.int64())])
    values = ["a b/ü%20", "x=y", "+", "~#?", None]
    create_table(uri, schema, ["p", "f"])
    writer = StagedWriter(uri, schema=schema, partition_by=["p", "f"], prefix="part é %")
    writer.write(pa.table({"p": values, "f": [1.5, -0.0, None, 1e300, float("inf")], "n": range(5)}, schema=schema))
    commit_once(uri, app_id="a", number=1, previous=None, files=writer.close())

    def again(handle: TableHandle) -> Rewrite:
        fresh = StagedWriter(uri, schema=schema, partition_by=["p", "f"], prefix="new é %")
        fresh.write(with_delta_rs(uri).select(schema.names).cast(schema))
        return Rewrite(adds=fresh.close(), removes=data_files(handle))

    before = with_delta_rs(uri)
    assert commit_rewrite(uri, app_id="a", number=2, previous=1, plan=again, operation="WRITE").won
    files = data_files(require_table(uri))
    assert {file.path.rsplit("/", 1)[1][:3] for file in files} == {"new"}
    assert with_delta_rs(uri).sort_by("n") == before.sort_by("n")
    DeltaTable(uri).create_checkpoint()
    assert with_delta_rs(uri).sort_by("n") == before.sort_by("n")


def test_tables_that_do_not_allow_it_are_refused_before_anything_is_planned(tmp_path: Path) -> None:
    plan = Raise(1, 1)
    for name in ("appendOnly", "enableChangeDataFeed"):
        uri = str(tmp_path / name)
        create_table(uri, SCHEMA, properties={f"delta.{name}": "true"})
        append(uri, 1, 2)
        with pytest.raises(UnsupportedTable, match=r"append-only|change data feed"):
            rewrite(uri, plan)
        assert numbers(uri) == [1, 2]


def test_change_data_files_are_what_the_feed_then_tells(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    create_table(uri, SCHEMA, properties={"delta.enableChangeDataFeed": "true"})
    append(uri, 1, 2)

    def plan(handle: TableHandle) -> Rewrite:
        schema = pa.schema([*SCHEMA, ("_change_type", pa.string())])
        writer = StagedWriter(uri, schema=schema, partition_by=[], prefix="_change_data/cdc-1")
        writer.write(pa.table({"n": [1, 10], "_change_type": ["update_preimage", "update_postimage"]}))
        return Rewrite(adds=stage(uri, [10, 2]), removes=data_files(handle), changes=writer.close())

    assert commit_rewrite(uri, app_id=APP, number=1, previous=None, plan=plan, operation="UPDATE").won
    feed = pa.table(DeltaTable(uri).load_cdf(starting_version=2).read_all())
    found = sorted(zip(feed["n"].to_pylist(), feed["_change_type"].to_pylist(), strict=True))
    assert found == [(1, "update_preimage"), (10, "update_postimage")]
    assert numbers(uri) == [2, 10]


SCRIPT = """
import sys
from lakeray.delta.rewrite import commit_rewrite
from tests.unit.delta.test_rewrite import APP, Raise
plan = Raise(3, 3)
done = commit_rewrite(sys.argv[1], app_id=APP, number=1, previous=None, plan=plan, operation="UPDATE", failpoints=True)
print(done.version, done.won)
"""


@pytest.mark.parametrize(("name", "committed"), [("before_commit", False), ("commit_reply", True)])
def test_a_kill_at_each_side_of_the_commit_is_made_good_by_the_next_try(uri: str, name: str, committed: bool) -> None:
    def run(armed: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", SCRIPT, uri]
        environment = {**os.environ, "LAKERAY_FAILPOINTS": armed}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert run(f"{name}=kill").returncode == -signal.SIGKILL
    assert numbers(uri) == ([1, 2, 4, 5, 6, 30] if committed else [1, 2, 3, 4, 5, 6])
    second = run("")
    assert second.stdout.split() == ["4", str(not committed)], second.stderr
    assert numbers(uri) == [1, 2, 4, 5, 6, 30]
