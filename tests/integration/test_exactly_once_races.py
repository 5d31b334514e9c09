"""Importers that race, freeze and wake, or lose the reply to a commit, with upkeep beside them, import exactly once.

Crash points: SIGSTOP at before_commit, at commit_reply, before the ledger, in a task; the reply to a commit dropped,
without and with a compaction in between.
"""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakeray.errors import TableError
from tests.polling import eventually
from tests.sample_lake import SampleLake, check_together, data_files, finished, killed_at_the_end, live

WITHIN_S = 60


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request, tmp_path, cloud_environment):
    """An empty prefix on local disk, then on S3."""
    if request.param == "local":
        return str(tmp_path / "lake")
    server = request.getfixturevalue("s3_server")
    cloud_environment(server.env)
    return server.new_bucket()


@pytest.fixture
def lake(tmp_path):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path)
    for number in range(7):
        lake.add(f"{number:02d}.json")
    return lake


def freeze(lake, failpoint, **env):
    """A run that stands still at the failpoint."""
    process = lake.start(LAKERAY_FAILPOINTS=failpoint, **env)
    eventually(lambda: state(process.pid) == "T" or process.poll() is not None, WITHIN_S)
    assert process.poll() is None, process.communicate()
    return process


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def wake(process):
    process.send_signal(signal.SIGCONT)
    done = finished(process, WITHIN_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return told(done)


def told(done):
    return json.loads(done.stdout)["import"]["steps"][0]


def upkeep_until(lake, ended, *, vacuum=True):
    """Optimize again and again, and vacuum without any retention, until ``ended()``."""
    rounds = 0
    while not ended():
        with suppress(TableError, FileNotFoundError):  # no table yet
            table = lake.connect().table(lake.table_uri)
            table.optimize()
            if vacuum:
                table.vacuum(0, dry_run=False)
            rounds += 1
    return rounds


def test_two_importers_at_once_with_upkeep_beside(tmp_path, root):
    lake = SampleLake(root=root, folder=tmp_path, batch_objects=1)
    for number in range(8):
        lake.add(f"{number:02d}.json")
    both = [lake.start(), lake.start()]
    with killed_at_the_end(*both):
        assert upkeep_until(lake, lambda: all(one.poll() is not None for one in both)) > 0
        done = [finished(one) for one in both]
    assert [one.returncode for one in done] == [0, 0], [one.stdout + one.stderr for one in done]
    lake.check()
    steps = [told(one) for one in done]
    won = sorted(batch["number"] for step in steps for batch in step["batches"] if batch["won"])
    assert len(won) == len(set(won)), "no batch was won twice"
    for step in steps:
        lost = [batch["number"] for batch in step["batches"] if not batch["won"]]
        notes = " ".join(step["notes"])
        assert all(f"batch {number} was committed by another importer first" in notes for number in lost)
    assert len({batch["number"] for step in steps for batch in step["batches"]}) == 8
    assert "WRITE" in lake.versions()


def test_two_workflows_into_one_table(tmp_path, root):
    lakes = [
        SampleLake(root=root, folder=tmp_path, batch_objects=2),
        SampleLake(root=root, folder=tmp_path, batch_objects=2, name="returns", first_id=1_000_000, seed=8),
    ]
    for lake in lakes:
        for number in range(4):
            lake.add(f"{number:02d}.json")
    both = [lake.start() for lake in lakes]
    with killed_at_the_end(*both):
        done = [finished(one) for one in both]
    assert [one.returncode for one in done] == [0, 0], [one.stdout + one.stderr for one in done]
    check_together(lakes)


def test_an_import_races_an_overwrite(tmp_path):
    """Rows that were there when the overwrite was made go; those that came later stay; batches come and go whole."""
    root = str(tmp_path / "lake")
    appending = SampleLake(root=root, folder=tmp_path, batch_objects=1, first_id=1_000_000)
    replacing = SampleLake(root=root, folder=tmp_path, name="all", mode="overwrite", batch_objects=50, seed=8)
    for number in range(8):
        appending.add(f"{number:02d}.json")
        replacing.add(f"{number:02d}.json")
    both = [appending.start(), replacing.start()]
    with killed_at_the_end(*both):
        done = [finished(one) for one in both]
    assert [one.returncode for one in done] == [0, 0], [one.stdout + one.stderr for one in done]
    found = appending.table_ids()
    assert max(found.values()) == 1
    assert found & replacing.ids == replacing.ids, "all of the overwrite"
    rest = found - replacing.ids
    for uri in appending.uris:
        ids = appending.ids_of[uri]
        assert rest & ids in (ids, type(ids)()), "a batch is there whole or not at all"
    assert rest - appending.ids == type(rest)()
    for lake in (appending, replacing):
        lake.check_ledger()
        lake.check_folder()


@pytest.mark.parametrize(
    ("point", "committed"),
    [("before_commit", False), ("task_staged", False), ("before_ledger_commit", True), ("after_commit", True)],
)
def test_frozen_while_another_goes_on(lake, point, committed):
    """It wakes when its batch and the batches behind it are recorded, and its files were vacuumed."""
    frozen = freeze(lake, f"{point}=stop:2")
    with killed_at_the_end(frozen):
        lake.import_well()
        lake.add("later.json")
        lake.import_well()
        lake.connect().table(lake.table_uri).vacuum(0, dry_run=False)
        before = lake.versions()
        step = wake(frozen)
    lake.check()
    assert lake.versions() == before, "it committed nothing"
    assert [batch["won"] for batch in step["batches"]][:2] == [True, committed]
    lake.import_well()
    lake.check()


def test_frozen_on_s3_while_another_goes_on(tmp_path, s3_server, cloud_environment):
    cloud_environment(s3_server.env)
    lake = SampleLake(root=s3_server.new_bucket(), folder=tmp_path)
    for number in range(5):
        lake.add(f"{number:02d}.json")
    frozen = freeze(lake, "before_commit=stop:2")
    with killed_at_the_end(frozen):
        lake.import_well()
        before = lake.versions()
        wake(frozen)
    lake.check()
    assert lake.versions() == before


def test_a_dropped_reply_and_a_compaction_in_between(lake):
    """The commit happened, its files were merged away, then the client sees an error and looks again."""
    frozen = freeze(lake, "commit_reply=stop_error:2")
    with killed_at_the_end(frozen):
        assert lake.connect().table(lake.table_uri).optimize()["files_removed"] == 2
        step = wake(frozen)
    assert [batch["won"] for batch in step["batches"]] == [True] * 3
    lake.check()
    assert lake.versions() == ["CREATE TABLE", "WRITE", "WRITE", "OPTIMIZE", "WRITE"]


def test_a_dropped_reply_and_another_importer_in_between(lake):
    frozen = freeze(lake, "commit_reply=stop_error:1")
    with killed_at_the_end(frozen):
        lake.import_well()
        lake.connect().table(lake.table_uri).optimize()
        wake(frozen)
    lake.check()


def test_a_vacuum_while_files_are_staged_takes_none_of_them(lake, monkeypatch):
    """They are staged after the vacuum began and before it listed what no commit names."""
    lake.import_well()
    lake.add("new.json")
    plain, frozen = DeltaTable.vacuum, []

    def and_stage(self, *args, **options):
        if options.get("full") and not frozen:
            frozen.append(freeze(lake, "before_commit=stop"))
        return plain(self, *args, **options)

    monkeypatch.setattr(DeltaTable, "vacuum", and_stage)
    assert lake.connect().table(lake.table_uri).vacuum(0, dry_run=False) == []
    monkeypatch.undo()
    with killed_at_the_end(*frozen):
        wake(frozen[0])
    lake.check()


def test_vacuum_takes_exactly_the_orphans(lake):
    """Of killed attempts at recorded batches, in table and quarantine; never of an open batch, never live ones."""
    for point in ("task_staged=kill", "before_commit=kill", "after_result=kill"):
        assert lake.run(LAKERAY_FAILPOINTS=point).returncode == -9
    uris = (lake.table_uri, lake.quarantine_uri)
    assert lake.connect().table(lake.table_uri).vacuum(0) == [], (
        "the batch is open: whoever froze may still commit its files"
    )
    lake.import_well()
    lake.add("new.json")
    frozen = freeze(lake, "before_commit=stop")
    with killed_at_the_end(frozen):
        for uri in uris:
            table = lake.connect().table(uri)
            staged = {path for path in data_files(uri) - live(uri) if "-0000000004-" in path}
            orphans = data_files(uri) - live(uri) - staged
            assert orphans
            assert set(table.vacuum(0)) == orphans
            assert set(table.vacuum(0, dry_run=False)) == orphans
            assert data_files(uri) == live(uri) | staged
        wake(frozen)
    lake.check()
    assert all(data_files(uri) == live(uri) for uri in uris)


def test_vacuum_leaves_a_compaction_at_work_alone(lake):
    """What another engine or a compaction writes beside has no batch: it stays until it is old."""
    lake.import_well()
    written = Path(lake.table_uri, "part-00001-7e6a1d52-c000.zstd.parquet")
    written.write_bytes(b"not yet committed")
    assert lake.connect().table(lake.table_uri).vacuum(0, dry_run=False) == []
    assert written.exists()


def test_the_command_removes_the_orphans(lake):
    assert lake.run(LAKERAY_FAILPOINTS="before_commit=kill").returncode == -9
    lake.import_well()
    orphans = data_files(lake.table_uri) - live(lake.table_uri)
    assert orphans
    done = lake.command("tables", "vacuum", lake.table_uri, "--retention-hours", "0", "--delete", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["files"]) == orphans
    lake.check()
