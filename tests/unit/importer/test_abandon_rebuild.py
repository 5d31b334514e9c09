"""What a person does to a ledger, or what happens to it, never makes rows come twice or stay away without a word.

Crash points: `rebuild` before each of its deletions; lost and half-lost ledgers, lost results, recreated and outdated
tables, lost transaction ids, a lost state.
"""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakeray.delta.table import open_table
from lakeray.errors import ExactlyOnceError, ImportFailed
from lakeray.importer.loop import ImportLoop
from lakeray.importer.manifest import manifest_uri
from lakeray.importer.recording import amend
from lakeray.importer.recording.ledger import Ledger
from lakeray.importer.recording.recovery import last_result, record_committed
from tests.sample_lake import read
from tests.unit.importer.three_batches import ledger, three_batches


@pytest.fixture
def lake(tmp_path):
    return three_batches(tmp_path)


def ledger_rows(lake):
    """All rows of the ledger, comparable."""
    rows = read(lake.ledger_uri()).drop_columns(["recorded_at"]).to_pylist()
    return sorted(rows, key=lambda row: (row["uri"], row["batch"], row["outcome"]))


def context_of(lake):
    connected = lake.connect()
    return connected._context(connected.validate(lake.workflow), "ingest")


def identity_of(lake):
    return context_of(lake).identity(open_table(lake.table_uri))


def failed(lake, code, text):
    """A run of the command that stops with that error and changes nothing."""
    before = open_table(lake.table_uri).version
    done = lake.run()
    assert done.returncode == 1, done.stdout
    assert code in done.stdout
    assert text in done.stdout
    assert open_table(lake.table_uri).version == before
    return done


# --- reset


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"uri_glob": "*/01.json"}, ["01"]),
        ({"batches": [2]}, ["02", "03"]),
        ({"batches": [1, 3], "uri_glob": "*/0[15].json"}, ["01", "05"]),
        ({"outcomes": ["failed", "poison"]}, []),
        ({}, ["00", "01", "02", "03", "04", "05"]),
    ],
)
def test_reset_has_exactly_the_chosen_objects_imported_again(lake, choice, expected):
    uris = [f"{lake.source_uri}{name}.json" for name in expected]
    assert ledger(lake).reset(**choice) == len(uris)
    lake.import_well()
    assert lake.table_ids() == lake.ids + sum((lake.ids_of[uri] for uri in uris), Counter())
    lake.check_ledger()
    again = [row["uri"] for row in ledger(lake).show(limit=None).to_pylist() if row["batch"] > 3]
    assert sorted(again) == uris
    assert lake.import_well().steps[0].imported.batches == []


def test_reset_by_outcome_replays_what_was_poison(lake):
    lake.extra = "    retry: {maximum_attempts: 1}"
    uri = lake.source_uri + "bad.json.gz"
    path = Path(uri)
    path.write_bytes(b"no gzip")
    for _ in range(3):
        lake.import_well()
    assert ledger(lake).show(outcome="poison")["uri"].to_pylist() == [uri]
    assert lake.import_well().steps[0].imported.batches == []
    assert ledger(lake).reset(outcomes=["poison"]) == 1
    lake.import_well()
    (row,) = ledger(lake).show(uri_glob=uri).to_pylist()
    assert (row["outcome"], row["tries"]) == ("failed", 1)


def test_a_reset_counts_whichever_clock_is_behind(lake):
    identity = identity_of(lake)
    rows = ledger(lake).show(uri_glob="*/00.json")
    Ledger(identity).reset(rows, now=datetime.now(UTC) - timedelta(days=3))
    lake.import_well()
    assert lake.table_ids() == lake.ids + lake.ids_of[lake.source_uri + "00.json"]


# --- abandon


def blocked(lake):
    """A batch that a failing expectation keeps open."""
    lake.extra = '      early: {sql: "id <= 100", on_violation: fail}'
    uris = [lake.add("new1.json"), lake.add("new2.json")]
    before = lake.table_ids()
    done = failed(lake, "expectation", "early")
    assert "new" in done.stdout
    assert lake.table_ids() == before
    return uris


def test_a_corrected_expression_finishes_the_blocked_batch(lake):
    blocked(lake)
    lake.extra = ""
    summary = lake.import_well()
    assert [batch.number for batch in summary.steps[0].imported.batches] == [4]
    lake.check()


def test_an_abandoned_batch_is_closed_and_can_be_brought_back(lake):
    uris = blocked(lake)
    with_them = Counter(lake.ids)
    assert ledger(lake).abandon() == 4
    with pytest.raises(ImportFailed, match="nothing to abandon"):
        ledger(lake).abandon()
    rows = ledger(lake).show(batch=4).to_pylist()
    assert [(row["uri"], row["outcome"], row["error_code"]) for row in rows] == [
        (uri, "skipped", "abandoned") for uri in uris
    ]
    lake.extra = ""
    assert lake.import_well().steps[0].imported.batches == []
    later = lake.add("later.json")
    lake.import_well()
    assert lake.table_ids() == with_them - sum((lake.ids_of[uri] for uri in uris), Counter()) + lake.ids_of[later]
    assert ledger(lake).reset(batches=[4]) == 2
    lake.import_well()
    lake.check()


def test_abandoning_forgets_nothing_that_earlier_batches_knew(lake):
    """Types of the source and how far RESTOREs were dealt with go on behind the abandoned batch."""
    lake.plan = "on_restore: keep"
    lake.connect().table(lake.table_uri).restore(2)
    lake.add("after.json")
    lake.import_well()
    before = last_result(identity_of(lake))
    blocked(lake)
    ledger(lake).abandon()
    after = last_result(identity_of(lake))
    assert after.abandoned
    assert (after.source_schema, after.restores_checked) == (before.source_schema, before.restores_checked)
    assert before.restores_checked >= 4
    lake.extra, lake.plan = "", "on_restore: reimport"
    held = lake.table_ids()
    lake.import_well()
    assert lake.table_ids() == held, "kept away stays kept away"


def test_nothing_is_abandoned_when_the_batch_was_committed(lake):
    lake.add("new.json")
    assert lake.run(LAKERAY_FAILPOINTS="after_commit=kill").returncode == -9
    with pytest.raises(ImportFailed, match="nothing to abandon"):
        ledger(lake).abandon()
    lake.import_well()
    lake.check()


# --- rebuild, and ledgers that are lost


def with_history(lake):
    """A ledger with failures, skipped and reset objects, a replay and a compaction of the table."""
    lake.plan = "on_restore: reimport"
    lake.connect().table(lake.table_uri).restore(2)
    lake.import_well()
    lake.connect().table(lake.table_uri).optimize()
    Path(lake.source_uri, "bad.json.gz").write_bytes(b"no gzip")
    lake.import_well()
    ledger(lake).reset(batches=[1])
    lake.import_well()


def test_rebuilt_it_says_what_it_said_before(lake):
    with_history(lake)
    before = [row for row in ledger_rows(lake) if row["outcome"] != "reset"]
    held = lake.table_ids()
    assert ledger(lake).rebuild() == len(before)
    assert ledger_rows(lake) == before
    Path(lake.source_uri, "bad.json.gz").unlink()
    assert lake.import_well().steps[0].imported.batches == []
    assert lake.table_ids() == held


def test_lost_it_heals_by_itself(lake):
    with_history(lake)
    Path(lake.source_uri, "bad.json.gz").unlink()
    before = [row for row in ledger_rows(lake) if row["outcome"] != "reset"]
    held = lake.table_ids()
    shutil.rmtree(lake.ledger_uri())
    summary = lake.import_well()
    assert summary.steps[0].imported.batches == []
    assert "now the ledger says so too" in " ".join(summary.steps[0].imported.notes)
    assert ledger_rows(lake) == before
    assert lake.table_ids() == held


def test_a_lost_quarantine_comes_back_with_the_ledger(lake):
    shutil.rmtree(lake.ledger_uri())
    shutil.rmtree(lake.quarantine_uri + "/_delta_log")
    lake.import_well()
    lake.check()


def test_rebuild_leaves_the_old_ledger_where_a_result_is_gone(lake):
    before = ledger_rows(lake)
    (result,) = [Path(lake.import_folder, path) for path, _ in lake.records() if "results/0000000002-" in path]
    data = result.read_bytes()
    result.unlink()
    with pytest.raises(ExactlyOnceError, match="is gone"):
        ledger(lake).rebuild()
    assert ledger_rows(lake) == before
    result.write_bytes(data)
    ledger(lake).rebuild()
    assert ledger_rows(lake) == before


def test_killed_in_the_middle_of_a_rebuild(lake, monkeypatch):
    """Before each deletion in turn: the next import completes the ledger, and another rebuild makes it whole too."""
    before = ledger_rows(lake)
    after = 0
    while True:
        with monkeypatch.context() as patch:
            patch.setattr(amend, "open_store", lambda uri, after=after: DyingStore(after))
            try:
                ledger(lake).rebuild()
                break
            except KeyboardInterrupt:
                pass
        if after % 2:
            assert ledger(lake).rebuild() == len(before)
        else:
            assert lake.import_well().steps[0].imported.batches == []
        assert ledger_rows(lake) == before
        lake.check()
        after += 1
    assert after >= 6


class DyingStore:
    """A local store that dies after some deletions."""

    def __init__(self, deletions):
        from lakeray.objects.local import LocalStore

        self.store, self.left = LocalStore(), deletions

    def list(self, prefix):
        return self.store.list(prefix)

    def delete(self, uri):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.store.delete(uri)


@pytest.mark.parametrize("name", ["00000000000000000000.json", "00000000000000000002.json"])
def test_damaged_it_stops_the_import_and_rebuild_makes_it_whole(lake, name):
    before = ledger_rows(lake)
    Path(lake.ledger_uri(), "_delta_log", name).unlink()
    failed(lake, "exactly_once", "ledger rebuild")
    ledger(lake).rebuild()
    assert ledger_rows(lake) == before
    lake.import_well()
    lake.check()


def test_deleted_under_a_running_import_it_makes_nothing_look_new(lake, monkeypatch):
    """The difference reads the ledger after the recovery did: in between somebody deletes it."""
    lake.add("new.json")
    plain = ImportLoop.recover

    def and_delete(self, handle):
        plain(self, handle)
        shutil.rmtree(lake.ledger_uri())

    monkeypatch.setattr(ImportLoop, "recover", and_delete)
    summary = lake.import_here()
    assert summary.state == "failed"
    assert summary.errors[0].code == "exactly_once"
    monkeypatch.undo()
    lake.import_well()
    lake.check()


# --- tables that are not what the ledger remembers


def test_a_recreated_table_stops_the_import(lake):
    """Also when everything of the table but lakeray's folder was deleted."""
    for path in Path(lake.table_uri).iterdir():
        if path.name != "_lakeray":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = lake.run()
    assert done.returncode == 1
    assert "exactly_once" in done.stdout
    assert "recreated" in done.stdout
    assert lake.import_here().errors[0].code == "exactly_once"
    assert lake.table_ids() == Counter()
    shutil.move(lake.import_folder, lake.folder / "away")
    shutil.rmtree(lake.quarantine_uri)
    lake.import_well()
    lake.check()


def test_a_table_that_went_back_to_an_older_copy_stops_the_import(lake):
    copy = lake.folder / "copy"
    shutil.copytree(lake.table_uri + "/_delta_log", copy)
    lake.add("new.json")
    lake.import_well()
    shutil.rmtree(lake.table_uri + "/_delta_log")
    shutil.copytree(copy, lake.table_uri + "/_delta_log")
    done = failed(lake, "exactly_once", "the ledger has recorded batch 4, but the table knows batch 3 as the last")
    assert "--accept-table" in done.stdout


def expire(lake):
    """Let the table forget its transaction ids, as an engine does that lets them expire."""
    for path in Path(lake.table_uri, "_delta_log").glob("*.json"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith('{"txn"')))
    assert open_table(lake.table_uri).transaction_version(identity_of(lake).app_id) is None


def test_lost_transaction_ids_stop_the_import(lake):
    expire(lake)
    lake.add("new.json")
    failed(lake, "exactly_once", "the table knows no transaction id of this import")


def test_lost_transaction_ids_and_a_lost_ledger_stop_it_too(lake):
    """Without either the batches look as if nobody had finished them; their manifests say otherwise."""
    expire(lake)
    shutil.rmtree(lake.ledger_uri())
    failed(lake, "exactly_once", "neither table nor ledger know it")


def test_a_lost_state_changes_nothing(lake):
    lake.run_to_the_end()
    for name in (".lakeray", "state.db", "catalog"):
        path = lake.folder / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    lake.add("new.json")
    lake.run_to_the_end()
    lake.check()


# --- other importers at the same moment


def test_a_table_opened_before_another_importer_went_on_contradicts_nothing(lake):
    context = context_of(lake)
    stale = open_table(lake.table_uri)
    lake.add("new.json")
    lake.import_well()
    assert list(record_committed(context, stale)) == []


def test_a_ledger_opened_before_another_importer_went_on_contradicts_nothing(lake, monkeypatch):
    identity = identity_of(lake)
    stale = Ledger(identity).open()
    lake.add("new.json")
    lake.import_well()
    plain, opened = Ledger.open, [stale]
    monkeypatch.setattr(Ledger, "open", lambda self: opened.pop() if opened else plain(self))
    assert last_result(identity).batch == 3


def test_a_batch_planned_by_another_meanwhile_is_no_contradiction(lake, monkeypatch):
    """The plan behind the next may be there because others went on between two looks."""
    context = context_of(lake)
    stale = open_table(lake.table_uri)
    plain, looked = Ledger.recorded, []

    def and_others_go_on(self):
        found = plain(self)
        if not looked:
            looked.append(found)
            lake.add("new.json")
            lake.import_well()
            lake.add("newer.json")
            lake.import_well()
        return found

    monkeypatch.setattr(Ledger, "recorded", and_others_go_on)
    assert list(record_committed(context, stale)) == []
    assert Path(manifest_uri(context.identity(stale), 5)).exists()
