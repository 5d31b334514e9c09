"""When records are lost for good there is a way out, it says what it assumes, and no row comes twice by it.

Crash points: before each write and each deletion of `accept_table` and `start_over`; repeated, they end in the same.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from lakeray.delta.table import open_table
from lakeray.errors import ExactlyOnceError, ImportFailed, RecordLost
from lakeray.importer.recording import accept, amend
from lakeray.objects.local import LocalStore
from tests.sample_lake import SampleLake, read
from tests.unit.importer.three_batches import ledger, three_batches


@pytest.fixture
def lake(tmp_path):
    return three_batches(tmp_path)


def outcomes(lake):
    """Outcome, batch and written rows by name."""
    rows = ledger(lake).show(limit=None).to_pylist()
    return {Path(row["uri"]).name: (row["outcome"], row["batch"], row["rows_written"]) for row in rows}


def records(lake, kind, *batches):
    names = [f"{number:010d}" for number in batches]
    found = sorted(Path(lake.import_folder, kind).iterdir())
    return [path for path in found if not names or path.name[:10] in names]


def lose(lake, *kinds):
    for kind in kinds:
        if kind == "ledger":
            shutil.rmtree(lake.ledger_uri())
        else:
            for path in records(lake, kind):
                path.unlink()


def stopped(lake):
    """The import stops, changes nothing, and says how to go on."""
    before = open_table(lake.table_uri).version
    (error,) = lake.import_here().errors
    assert error.code == "exactly_once"
    assert "ledger rebuild --accept-table" in error.hint
    assert "--start-over" in error.hint
    assert open_table(lake.table_uri).version == before


def goes_on(lake):
    """Nothing comes again, and what is new comes once."""
    held = lake.table_ids()
    assert lake.import_well().steps[0].imported.batches == []
    assert lake.table_ids() == held
    uri = lake.add(f"new{len(lake.uris)}.json")
    lake.import_well()
    assert lake.table_ids() == held + lake.ids_of[uri]
    assert lake.import_well().steps[0].imported.batches == []


# --- each loss


def test_lost_results_are_made_of_the_ledger(lake):
    lose(lake, "results")
    stopped(lake)
    before = outcomes(lake)
    told = ledger(lake).accept_table()
    assert (told.batches, told.whole, told.from_ledger, told.assumed) == (3, 0, [1, 2, 3], 0)
    stopped(lake)  # a dry run changed nothing
    assert ledger(lake).accept_table(dry_run=False) == told
    assert outcomes(lake) == before
    goes_on(lake)
    lake.check()
    assert ledger(lake).rebuild() == 7
    lake.check()


def test_lost_manifests_stop_nothing(lake):
    lose(lake, "manifests")
    goes_on(lake)
    lake.check_ledger()


def test_a_lost_ledger_stops_nothing_and_is_accepted_too(lake):
    before = outcomes(lake)
    lose(lake, "ledger")
    told = ledger(lake).accept_table(dry_run=False)
    assert (told.whole, told.from_ledger, told.from_manifest, told.from_nothing) == (3, [], [], [])
    assert outcomes(lake) == before
    goes_on(lake)
    lake.check()


def test_lost_results_and_ledger_are_made_of_the_manifests(lake):
    lose(lake, "results", "ledger")
    stopped(lake)
    told = ledger(lake).accept_table(dry_run=False)
    assert (told.from_manifest, told.assumed) == ([1, 2, 3], 0)
    assert outcomes(lake) == {f"{number:02d}.json": ("loaded", number // 2 + 1, 0) for number in range(6)}
    assert set(ledger(lake).show(limit=None)["error_code"].to_pylist()) == {"accepted"}
    goes_on(lake)


def test_some_lost_results_leave_the_others_as_they_are(lake):
    before = outcomes(lake)
    (path,) = records(lake, "results", 2)
    path.unlink()
    lose(lake, "ledger")
    stopped(lake)
    told = ledger(lake).accept_table(dry_run=False)
    assert (told.whole, told.from_manifest) == (2, [2])
    after = outcomes(lake)
    assert {name: row for name, row in after.items() if row[1] != 2} == {
        name: row for name, row in before.items() if row[1] != 2
    }
    goes_on(lake)


def test_all_lost_what_was_there_before_counts_as_loaded(lake):
    shutil.rmtree(lake.import_folder)
    late = lake.add("late.json")
    stopped(lake)
    told = ledger(lake).accept_table(dry_run=False)
    assert (told.whole, told.from_nothing, told.assumed) == (0, [1, 2, 3], 6)
    assert told.until is not None
    assert set(outcomes(lake)) == {f"{number:02d}.json" for number in range(6)}
    lake.import_well()
    assert lake.table_ids() == lake.ids, "each object once, the late one too"
    assert outcomes(lake)[Path(late).name][0] in {"loaded", "partly_loaded"}
    goes_on(lake)


def test_one_batch_of_which_nothing_is_known(lake):
    lose(lake, "results", "ledger")
    (path,) = records(lake, "manifests", 2)
    path.unlink()
    told = ledger(lake).accept_table(dry_run=False)
    assert (told.from_manifest, told.from_nothing, told.assumed) == ([1, 3], [2], 2)
    assert {name: row[1] for name, row in outcomes(lake).items()} == {f"{n:02d}.json": n // 2 + 1 for n in range(6)}
    goes_on(lake)


@pytest.mark.parametrize("kind", ["results", "manifests"])
def test_torn_files_count_as_lost(lake, kind):
    lose(lake, "ledger", *(["results"] if kind == "manifests" else []))
    for path in records(lake, kind):
        path.write_bytes(path.read_bytes()[:-20])
    stopped(lake)
    told = ledger(lake).accept_table(dry_run=False)
    assert told.from_manifest == ([1, 2, 3] if kind == "results" else [])
    assert told.from_nothing == ([] if kind == "results" else [1, 2, 3])
    goes_on(lake)


def test_a_torn_plan_of_a_batch_that_is_not_in_the_table_is_planned_anew(lake):
    lake.add("06.json")
    assert lake.run(LAKERAY_FAILPOINTS="after_manifest=kill").returncode == -9
    (path,) = records(lake, "manifests", 4)
    path.write_bytes(b"{")
    stopped(lake)
    assert ledger(lake).accept_table(dry_run=False).open_batch == 4
    lake.import_well()
    lake.check()


def test_a_planned_batch_is_finished_behind_the_accepted_ones(lake):
    uri = lake.add("06.json")
    assert lake.run(LAKERAY_FAILPOINTS="after_result=kill").returncode == -9
    lose(lake, "results", "ledger")
    told = ledger(lake).accept_table(dry_run=False)
    assert (told.batches, told.open_batch) == (3, None)
    held = lake.table_ids()
    lake.import_well()
    assert lake.table_ids() == held + lake.ids_of[uri]


def test_a_damaged_ledger_is_written_anew(lake):
    before = outcomes(lake)
    Path(lake.ledger_uri(), "_delta_log", "00000000000000000002.json").unlink()
    (path,) = records(lake, "results", 3)
    path.unlink()
    told = ledger(lake).accept_table(dry_run=False)
    assert told.ledger_damaged
    assert told.from_manifest == [3]
    assert outcomes(lake).keys() == before.keys()
    goes_on(lake)


def test_a_batch_whose_commit_added_nothing_is_tried_again(lake):
    lake.extra = "    retry: {maximum_attempts: 1}"
    path = Path(lake.source_uri, "bad.json.gz")
    path.write_bytes(b"no gzip")
    lake.import_here()
    lose(lake, "results", "ledger")
    ledger(lake).accept_table(dry_run=False)
    assert outcomes(lake)["bad.json.gz"][0] == "failed"


def test_lost_transaction_ids_are_put_right(lake):
    """Alone, and with everything else lost."""
    for losses in ((), ("ledger",), ("results", "ledger")):
        for path in Path(lake.table_uri, "_delta_log").glob("*.json"):
            text = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in text if not line.startswith('{"txn"')))
        lose(lake, *losses)
        stopped(lake)
        assert ledger(lake).accept_table(dry_run=False).ids_lost
        goes_on(lake)


def test_an_older_copy_of_the_table_gets_the_later_batches_again(lake):
    copy = lake.folder / "copy"
    shutil.copytree(lake.table_uri + "/_delta_log", copy)
    held = lake.table_ids()
    lake.add("06.json")
    lake.import_well()
    shutil.rmtree(lake.table_uri + "/_delta_log")
    shutil.copytree(copy, lake.table_uri + "/_delta_log")
    stopped(lake)
    assert lake.table_ids() == held
    told = ledger(lake).accept_table(dry_run=False)
    assert (told.gone, told.reset) == ([4], 1)
    lake.import_well()
    assert lake.table_ids() == lake.ids
    goes_on(lake)


def test_a_restore_that_was_dealt_with_is_not_asked_about_again(lake):
    lake.plan = "on_restore: keep"
    lake.connect().table(lake.table_uri).restore(2)
    lake.import_well()
    lose(lake, "results")
    ledger(lake).accept_table(dry_run=False)
    lake.plan = "on_restore: reimport"
    goes_on(lake)


@pytest.mark.parametrize("losses", [("results",), ("results", "ledger")])
def test_rows_that_were_taken_out_stay_taken_out(tmp_path, losses):
    """What left the table is not said to be loaded, and what replaced it does not come again."""
    mirror = ", changed_objects: replace, deleted_objects: delete, deletion_guard: 1"
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, source=mirror)
    for name in ("a", "b", "c"):
        lake.add(f"{name}.json")
    lake.import_well()
    lake.add("a.json")
    lake.remove(lake.source_uri + "b.json")
    lake.import_well()
    assert lake.table_ids() == lake.ids
    before = sorted(row["outcome"] for row in ledger(lake).show(limit=None).to_pylist())
    lose(lake, *losses)
    stopped(lake)
    ledger(lake).accept_table(dry_run=False)
    after = ledger(lake).show(limit=None).to_pylist()
    assert sorted(row["outcome"].replace("partly_", "") for row in after) == [
        outcome.replace("partly_", "") for outcome in before
    ]
    if losses == ("results",):
        assert all(row["provenance"] for row in after)
    held = lake.table_ids()
    assert lake.import_well().steps[0].imported.batches == []
    lake.add("b.json")
    lake.import_well()
    assert lake.table_ids() == held + lake.ids_of[lake.source_uri + "b.json"]


# --- start over


@pytest.mark.parametrize("losses", [(), ("results",), ("results", "ledger"), ("results", "ledger", "manifests")])
def test_starting_over_imports_every_object_again(lake, losses):
    lose(lake, *losses)
    told = ledger(lake).start_over()
    assert told.reset == 0
    ledger(lake).start_over(dry_run=False)
    lake.import_well()
    assert lake.table_ids() == lake.ids + lake.ids
    goes_on(lake)


def test_starting_over_with_an_emptied_table_has_every_row_once(lake):
    shutil.rmtree(lake.import_folder)
    shutil.rmtree(lake.quarantine_uri)
    lake.connect().table(lake.table_uri).restore(0)
    ledger(lake).start_over(dry_run=False)
    lake.import_well()
    assert (lake.table_ids(), lake.quarantined()) == (lake.ids, lake.refused)
    lake.check_ledger()
    goes_on(lake)


# --- crashes, and what is refused


class Dying(LocalStore):
    """A local store that dies before one of its changes."""

    left = 0

    def _spend(self):
        if not Dying.left:
            raise KeyboardInterrupt
        Dying.left -= 1

    def create(self, uri, data):
        self._spend()
        super().create(uri, data)

    def put(self, uri, data):
        self._spend()
        super().put(uri, data)

    def delete(self, uri):
        self._spend()
        super().delete(uri)


@pytest.mark.parametrize("way", ["accept_table", "start_over"])
def test_killed_anywhere_it_can_be_repeated(lake, monkeypatch, way):
    lose(lake, "results")
    Path(lake.ledger_uri(), "_delta_log", "00000000000000000002.json").unlink()
    after = 0
    while True:
        with monkeypatch.context() as patch:
            for module in (accept, amend):
                patch.setattr(module, "open_store", lambda _: Dying())
            Dying.left = after
            try:
                getattr(ledger(lake), way)(dry_run=False)
                break
            except KeyboardInterrupt:
                after += 1
        assert after < 50
    assert after >= 4, "each try went on where the last one died"
    lake.import_well()
    assert lake.table_ids() == (lake.ids if way == "accept_table" else lake.ids + lake.ids)
    goes_on(lake)


def test_what_a_newer_version_wrote_is_not_written_over(lake):
    (path,) = records(lake, "results", 3)
    data = path.read_bytes().replace(b'"format":1', b'"format":9')
    path.write_bytes(data)
    with pytest.raises(ExactlyOnceError, match="newer version") as caught:
        ledger(lake).accept_table(dry_run=False)
    assert not isinstance(caught.value, RecordLost)
    assert path.read_bytes() == data


def test_a_result_that_is_found_again_counts(lake, monkeypatch):
    """Somebody restores it between the look and the deed."""
    lose(lake, "ledger")
    (path,) = records(lake, "results", 3)
    data = path.read_bytes()
    path.unlink()
    plain = accept.Records._store

    def restored(self, lost, outcomes):
        path.write_bytes(data)
        plain(self, lost, outcomes)

    monkeypatch.setattr(accept.Records, "_store", restored)
    ledger(lake).accept_table(dry_run=False)
    assert path.read_bytes() == data
    lake.check()


def test_without_any_batch_there_is_nothing_to_accept(tmp_path):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path)
    lake.add("00.json")
    with pytest.raises(ImportFailed, match="nothing was imported"):
        ledger(lake).accept_table()
    assert lake.run(LAKERAY_FAILPOINTS="before_manifest=kill").returncode == -9
    with pytest.raises(ImportFailed, match="knows a batch"):
        ledger(lake).accept_table()


def test_the_command_changes_nothing_without_yes(lake):
    shutil.rmtree(lake.import_folder)
    told = lake.command("ledger", "rebuild", str(lake.workflow), "--accept-table")
    assert told.returncode == 0
    assert "nothing was changed" in told.stdout
    assert "batches 1, 2, 3: everything is lost; 6 objects that the source lists" in " ".join(told.stdout.split())
    assert "--yes" in told.stderr
    assert not Path(lake.import_folder).exists()
    both = lake.command("ledger", "rebuild", str(lake.workflow), "--accept-table", "--start-over")
    assert both.returncode == 2
    done = lake.command("ledger", "rebuild", str(lake.workflow), "--accept-table", "--yes", "--json")
    assert done.returncode == 0
    assert '"assumed": 6' in done.stdout
    held = Counter(read(lake.table_uri)["id"].to_pylist())
    lake.run_to_the_end()
    assert lake.table_ids() == held
