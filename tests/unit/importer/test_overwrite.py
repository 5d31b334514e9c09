"""With ``mode: overwrite`` the table is what the source holds: one commit when anything differs, none otherwise.

Crash points: every named failpoint on the way of one batch, in a second import that changes, adds and removes objects.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from deltalake import write_deltalake

from lakeray.delta import commit as commit_module
from lakeray.failpoints import EVERY_IMPORT
from lakeray.importer.identity import pipeline_id
from lakeray.objects import open_store
from tests.polling import eventually
from tests.sample_lake import SampleLake, data_files, finished, killed_at_the_end, live, read

KILLED_AT = list(EVERY_IMPORT)


@pytest.fixture
def lake(tmp_path):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, mode="overwrite", batch_objects=2)
    for number in range(5):
        lake.add(f"{number:02d}.json")
    lake.import_well()
    return lake


def check(lake):
    """The table is the source; the last batch of the ledger and of the quarantine says so."""
    assert lake.table_ids() == lake.ids
    ledger = read(lake.ledger_uri())
    last = max(ledger["batch"].to_pylist())
    rows = [row for row in ledger.to_pylist() if row["batch"] == last]
    assert sorted(row["uri"] for row in rows) == sorted(lake.uris)
    assert sum(row["rows_written"] for row in rows) == lake.ids.total()
    refused = [row for row in read(lake.quarantine_uri).to_pylist() if row["batch"] == last]
    assert Counter((row["object_uri"], row["row"]) for row in refused) == lake.refused
    lake.check_folder()


def change(lake):
    """One object changed, one new, one deleted."""
    lake.add("01.json")
    lake.add("05.json")
    lake.remove(lake.source_uri + "03.json")


def test_the_first_import_is_one_commit(lake):
    check(lake)
    assert lake.versions() == ["CREATE TABLE", "WRITE"]


def test_any_difference_is_one_commit_over_everything(lake):
    for differ in (
        lambda: lake.add("01.json"),
        lambda: lake.add("99.json"),
        lambda: lake.remove(lake.source_uri + "00.json"),
        lambda: change(lake),
    ):
        before = len(lake.versions())
        differ()
        lake.import_well()
        check(lake)
        assert len(lake.versions()) == before + 1


def test_no_difference_is_no_commit(lake):
    before = lake.versions()
    assert lake.import_well().steps[0].imported.batches == []
    assert lake.versions() == before


def test_an_object_that_comes_back_is_there_again(lake):
    uri = lake.source_uri + "03.json"
    data, ids, refused = open_store(uri).read(uri), lake.ids_of[uri], lake.refused_of[uri]
    lake.remove(uri)
    lake.import_well()
    check(lake)
    open_store(uri).put(uri, data)
    lake.uris.append(uri)
    lake.ids += ids
    lake.refused += refused
    lake.import_well()
    check(lake)


@pytest.mark.parametrize("name", KILLED_AT)
def test_killed(lake, name):
    before = lake.table_ids()
    change(lake)
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    assert lake.table_ids() in (before, lake.ids), "all or nothing"
    lake.import_well()
    check(lake)
    lake.connect().table(lake.table_uri).vacuum(0, dry_run=False)
    assert data_files(lake.table_uri) == live(lake.table_uri)


def test_a_lost_reply_repeats_nothing(lake):
    change(lake)
    done = lake.run(LAKERAY_FAILPOINTS="commit_reply=error")
    assert done.returncode == 0, done.stdout
    check(lake)
    assert lake.versions() == ["CREATE TABLE", "WRITE", "WRITE"]


def test_nothing_listed_is_refused(lake):
    before = lake.table_ids()
    for uri in list(lake.uris):
        lake.remove(uri)
    done = lake.run()
    assert done.returncode == 1
    assert "nothing is there any more" in done.stdout
    assert lake.table_ids() == before


def test_rows_that_another_appends_meanwhile_go_with_the_rest(lake, monkeypatch):
    """The commit removes what its handle saw, so it is refused and made again when the table went on."""
    change(lake)
    foreign = read(lake.table_uri).slice(0, 3)
    plain = commit_module._Attempt._send
    sent = []

    def slow(self, handle):
        if self.turn.number == 2 and self.failpoints and not sent:
            write_deltalake(lake.table_uri, foreign, mode="append")
        sent.append(self.turn.number)
        plain(self, handle)

    monkeypatch.setattr(commit_module._Attempt, "_send", slow)
    lake.import_well()
    check(lake)
    assert lake.versions() == ["CREATE TABLE", "WRITE", "WRITE", "WRITE"]


def test_rows_that_another_appends_afterwards_stay(lake):
    foreign = read(lake.table_uri).slice(0, 3)
    write_deltalake(lake.table_uri, foreign, mode="append")
    lake.import_well()
    assert lake.table_ids() == lake.ids + Counter(foreign["id"].to_pylist())
    change(lake)
    lake.import_well()
    check(lake)


def test_frozen_before_its_commit_it_removes_nothing_of_the_next(lake):
    change(lake)
    frozen = lake.start(LAKERAY_FAILPOINTS="before_commit=stop")
    with killed_at_the_end(frozen):
        stopped(frozen)
        lake.import_well()
        lake.add("77.json")
        lake.import_well()
        before = lake.versions()
        frozen.send_signal(signal.SIGCONT)
        done = finished(frozen)
    assert done.returncode == 0, done.stdout
    assert lake.versions() == before
    check(lake)


def stopped(process):
    """Wait until the process froze at its failpoint."""
    stat = Path(f"/proc/{process.pid}/stat")
    eventually(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", within_s=60)


@pytest.mark.parametrize("killed", [False, True])
def test_a_batch_that_was_planned_to_overwrite_is_never_appended(lake, killed):
    """A manifest's objects fit its mode only: the workflow file may have changed since."""
    change(lake)
    assert lake.run(LAKERAY_FAILPOINTS="after_result=kill" if killed else "after_manifest=kill").returncode == -9
    lake.mode = "append"
    lake.import_well()
    assert lake.table_ids() == lake.ids
    lake.add("new.json")
    lake.import_well()
    assert lake.table_ids() == lake.ids


def test_a_batch_that_was_planned_to_append_replaces_nothing(tmp_path):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path)
    lake.add("00.json")
    lake.import_well()
    lake.add("01.json")
    assert lake.run(LAKERAY_FAILPOINTS="after_manifest=kill").returncode == -9
    lake.mode = "overwrite"
    seen = []
    plain = commit_module._Attempt._send

    def look(self, handle):
        plain(self, handle)
        seen.append(lake.table_ids())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit_module._Attempt, "_send", look)
        lake.import_well()
    assert lake.table_ids() == lake.ids
    assert all(ids >= lake.ids_of[lake.source_uri + "00.json"] for ids in seen), "the table was never without its rows"


def test_a_restore_brings_back_the_last_import_alone(lake):
    """What earlier batches held and the last did not is none of the lost."""
    gone = lake.source_uri + "03.json"
    lake.remove(gone)
    lake.import_well()  # batch 2, without it
    lake.plan = "on_restore: reimport"
    lake.connect().table(lake.table_uri).restore(0)
    summary = lake.import_well()
    assert [(batch.number, batch.replays) for batch in summary.steps[0].imported.batches] == [(3, 2)]
    assert lake.table_ids() == lake.ids


def test_an_abandoned_batch_leaves_the_table_as_it_was(lake):
    before = lake.table_ids()
    change(lake)
    assert lake.run(LAKERAY_FAILPOINTS="before_commit=kill").returncode == -9
    assert lake.connect().ledger(lake.workflow).abandon() == 2
    lake.import_well()
    assert lake.table_ids() == before
    assert lake.connect().ledger(lake.workflow).reset(batches=[2]) == 5
    lake.import_well()
    check(lake)


def test_an_object_that_is_rewritten_and_rests_takes_nothing_away(tmp_path):
    """``min_age`` holds the table back: the old version is gone, the new one may be half-written."""
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, mode="overwrite", batch_objects=100)
    lake.add("a.json")
    lake.add("b.json")
    lake.run_to_the_end()
    lake.check()
    text = lake.workflow.read_text().replace("format: json", "format: json, min_age: 1h")
    (tmp_path / "resting.yaml").write_text(text)
    first, second = lake.uris
    os.utime(first, (1_600_000_000, 1_600_000_000))  # an old time and a new version: it may be read again
    Path(second).write_bytes(Path(second).read_bytes())
    before = lake.read(lake.table_uri).num_rows
    done = lake.command("run", "resting.yaml", "--json")
    assert done.returncode == 0, done.stdout
    assert lake.read(lake.table_uri).num_rows == before


def test_an_overwrite_says_whose_rows_it_replaces(lake):
    """Also those of an import that joined a table which another workflow created, and never for nothing."""
    other = SampleLake(root=lake.root, folder=lake.folder, name="returns", first_id=1_000_000, seed=8)
    other.add("00.json")
    assert not any("other imports" in note for note in lake.import_well().steps[0].imported.notes)
    other.import_well()
    lake.add("new.json")
    notes = lake.import_well().steps[0].imported.notes
    (told,) = [note for note in notes if "other imports" in note]
    assert f"{pipeline_id('acme', 'returns')}/ingest" in told
    assert "orders/ingest" not in told
    assert not any("other imports" in note for note in lake.import_well().steps[0].imported.notes)
