"""Upkeep looks, merges, deletes and restores without harm to what imports rely on."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lakeray.delta.commit import commit_once
from lakeray.delta.table import create_table, require_table
from lakeray.delta.upkeep import history, live_files, restore, restores_since
from lakeray.delta.vacuum import vacuum as clean_up
from lakeray.delta.writer import StagedWriter
from lakeray.errors import ExactlyOnceError, TableError
from lakeray.importer.upkeep.optimize import optimize
from tests.unit.delta.readers import READERS, rows, with_delta_rs

SCHEMA = pa.schema([("n", pa.int64()), ("at", pa.timestamp("us", tz="UTC")), ("p", pa.string())])
MOMENT = dt.datetime(2020, 1, 1, 0, 0, 0, 999_999, dt.UTC)


def table(*numbers: int) -> pa.Table:
    return pa.table({"n": numbers, "at": [MOMENT] * len(numbers), "p": ["a b/é"] * len(numbers)}, schema=SCHEMA)


def append(uri: str, number: int) -> None:
    writer = StagedWriter(uri, schema=SCHEMA, partition_by=["p"], prefix=f"part-{number}")
    writer.write(table(number))
    files = writer.close()
    commit_once(uri, app_id="app", number=number, previous=None, files=files, metadata={"lakeray.batch": str(number)})


def vacuum(uri: str, hours: int, **more: Any) -> list[str]:
    return [file.path for file in clean_up(uri, hours, **more)]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    made = str(tmp_path / "t")
    create_table(made, SCHEMA, ["p"])
    for number in (1, 2, 3):
        append(made, number)
    return made


def age(uri: str, *names: str, hours: int = 400) -> None:
    for name in names:
        path = Path(uri, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(b"x")
        moment = time.time() - hours * 3600
        os.utime(path, (moment, moment))


def test_history_is_newest_first_and_carries_lakerays_words(uri: str) -> None:
    entries = history(uri)
    assert [entry.version for entry in entries] == [3, 2, 1, 0]
    assert [entry.operation for entry in entries] == ["WRITE", "WRITE", "WRITE", "CREATE TABLE"]
    assert entries[0].metadata["lakeray.batch"] == "3"
    assert abs((entries[0].at - dt.datetime.now(dt.UTC)).total_seconds()) < 300
    assert [entry.version for entry in history(uri, limit=2)] == [3, 2]


def test_live_files_are_where_they_say(uri: str) -> None:
    files = live_files(uri)
    assert sorted(file.rows or 0 for file in files) == [1, 1, 1]
    assert all(Path(uri, file.path).stat().st_size == file.size_bytes for file in files)
    assert {file.partition_values["p"] for file in files} == {"a b/é"}


def test_optimize_keeps_rows_and_numbers_for_every_reader(uri: str) -> None:
    done = optimize(uri)
    assert (done.files_removed, done.files_added) == (3, 1)
    assert done.version == require_table(uri).version == 4
    assert require_table(uri).transaction_version("app") == 3
    for name, read in READERS.items():
        wanted = table(1, 2, 3) if name != "duckdb" else table(1, 2, 3).drop_columns(["p"])
        assert rows(read(uri)) == rows(wanted), name
    assert optimize(uri).files_removed == 0


def test_skipping_works_on_compacted_files(uri: str) -> None:
    optimize(uri)
    where = "at = arrow_cast(1577836800999999, 'Timestamp(Microsecond, Some(\"UTC\"))')"
    assert with_delta_rs(uri, f"SELECT count(*) AS n FROM t WHERE {where}")["n"][0].as_py() == 3


def test_vacuum_takes_expired_and_orphaned_files_only(uri: str) -> None:
    dead = [file.path for file in live_files(uri)]
    optimize(uri)
    orphans = ["orphan.parquet", "p=x/part é%20.parquet"]
    kept = ["notes.txt", "_lakeray/x/ledger/rows.parquet", "_lakeray/m.json", "_delta_log/_x.parquet", "staged.parquet"]
    age(uri, *orphans, *kept)
    Path(uri, "young.parquet").write_bytes(b"x")
    assert vacuum(uri, 168, protected={"staged.parquet"}) == orphans, "a dry run by default"
    assert all(Path(uri, name).exists() for name in orphans)
    assert vacuum(uri, 168, dry_run=False, protected={"staged.parquet"}) == orphans
    assert not any(Path(uri, name).exists() for name in orphans)
    assert all(Path(uri, name).exists() for name in [*kept, "young.parquet", *dead])
    assert sorted(vacuum(uri, 0, dry_run=False, protected={"staged.parquet"})) == sorted([*dead, "young.parquet"])
    assert not any(Path(uri, name).exists() for name in dead)
    assert all(Path(uri, name).exists() for name in kept)
    assert rows(with_delta_rs(uri)) == rows(table(1, 2, 3))
    assert require_table(uri).transaction_version("app") == 3


def test_vacuum_leaves_what_was_committed_since_it_looked(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StagedWriter(uri, schema=SCHEMA, partition_by=["p"], prefix="late")
    writer.write(table(4))
    files = writer.close()
    age(uri, files[0].path)
    plain = DeltaTable.vacuum

    def slow(self: DeltaTable, *args: object, **options: object) -> list[str]:
        found = plain(self, *args, **options)  # type: ignore[arg-type]
        if options.get("full"):
            commit_once(uri, app_id="app", number=4, previous=3, files=files)
        return found

    monkeypatch.setattr(DeltaTable, "vacuum", slow)
    assert vacuum(uri, 168, dry_run=False) == []
    assert rows(with_delta_rs(uri)) == rows(table(1, 2, 3, 4))


def test_a_negative_retention_is_refused(uri: str) -> None:
    with pytest.raises(TableError, match="-1 hours"):
        vacuum(uri, -1)


def test_restore_by_version_and_by_time(uri: str) -> None:
    entries = {entry.version: entry for entry in history(uri)}
    assert restore(uri, 1) == 4
    assert rows(with_delta_rs(uri)) == rows(table(1))
    assert restore(uri, 3) == 5
    assert restore(uri, entries[2].at) == 6
    assert rows(with_delta_rs(uri)) == rows(table(1, 2))
    assert [(one.at_version, one.to_version) for one in restores_since(uri, 0)] == [(4, 1), (5, 3), (6, 2)]
    assert [one.at_version for one in restores_since(uri, 4)] == [5, 6]
    assert restores_since(uri, 6) == []


def test_anothers_restore_by_time_is_traced_to_the_version_it_really_took(uri: str) -> None:
    """Delta-rs goes by the files' clocks there, not by the times in the commits."""
    for number, moment in ((1, 1000), (2, 2000), (3, 3000)):
        os.utime(Path(uri, "_delta_log", f"{number:020d}.json"), (moment, moment))
    os.utime(Path(uri, "_delta_log", f"{0:020d}.json"), (10, 10))
    DeltaTable(uri).restore(dt.datetime.fromtimestamp(2500, tz=dt.UTC))
    left = sorted(with_delta_rs(uri)["n"].to_pylist())
    (found,) = restores_since(uri, 0)
    assert left == list(range(1, found.to_version + 1))


def test_restore_to_what_is_not_there_is_an_error(uri: str) -> None:
    with pytest.raises(TableError, match="99"):
        restore(uri, 99)
    optimize(uri)
    vacuum(uri, 0, dry_run=False)
    with pytest.raises(TableError, match="vacuumed"):
        restore(uri, 3)
    assert rows(with_delta_rs(uri)) == rows(table(1, 2, 3))


def test_a_restore_that_the_log_no_longer_shows_cannot_be_ruled_out(uri: str) -> None:
    DeltaTable(uri).create_checkpoint()
    Path(uri, "_delta_log", f"{2:020d}.json").unlink()
    assert restores_since(uri, 2) == []
    with pytest.raises(ExactlyOnceError, match="cannot be ruled out"):
        restores_since(uri, 1)
    assert restores_since(uri, 1, lost_log="ignore") == []


def test_a_foreign_overwrite_is_no_restore(uri: str) -> None:
    write_deltalake(uri, table(9), mode="overwrite")
    assert restores_since(uri, 0) == []


@pytest.mark.parametrize("version", [4, 99, -1])
def test_a_version_that_is_not_there_cannot_be_gone_back_to(uri: str, version: int) -> None:
    with pytest.raises(TableError, match=f"has no version {version}: the newest is 3") as caught:
        restore(uri, version)
    assert caught.value.hint == "versions 0 to 3 are there: `lakeray tables history` lists them"
    assert require_table(uri).version == 3


def test_a_version_that_the_log_forgot_cannot_be_gone_back_to(uri: str) -> None:
    require_table(uri).delta.create_checkpoint()
    append(uri, 4)
    for number in (0, 1, 2):
        Path(uri, "_delta_log", f"{number:020d}.json").unlink()
    with pytest.raises(TableError, match="has no version 1: its log does not hold it any more") as caught:
        restore(uri, 1)
    assert caught.value.hint is not None
    assert "versions 3 to 4" in caught.value.hint
