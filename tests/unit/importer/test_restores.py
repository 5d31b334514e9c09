"""What a RESTORE took away is imported again exactly once, kept away, or asked about.

Crash points: KILLED_AT, in the second of several batches that are imported again; `make chaos` goes through all.
"""

from __future__ import annotations

import pytest

from lakeray.delta.table import open_table
from lakeray.delta.upkeep import Restore
from lakeray.errors import Cancelled
from lakeray.importer.recording import recovery
from lakeray.importer.recording.restores import effective_versions
from tests.sample_lake import SampleLake

KILLED_AT = (
    "after_manifest",
    "task_staged",
    "after_result",
    "after_commit",
    "after_quarantine_commit",
    "after_ledger_commit",
)


@pytest.fixture
def lake(tmp_path):
    """Three batches, at the versions 1, 2 and 3."""
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, batch_objects=2)
    for number in range(6):
        lake.add(f"{number:02d}.json")
    lake.import_well()
    lake.check()
    assert table(lake).history(1)[0]["version"] == 3
    return lake


def table(lake):
    return lake.connect().table(lake.table_uri)


def batches(lake):
    """Objects by batch, as the ledger counts them."""
    rows = lake.connect().ledger(lake.workflow).show(limit=None)
    return sorted(zip(rows["batch"].to_pylist(), rows["replays"].to_pylist(), strict=True), key=str)


def test_ask_stops_and_says_how_to_choose(lake):
    table(lake).restore(1)
    lake.add("new.json")
    before = lake.table_ids()
    done = lake.run()
    assert done.returncode == 1
    assert "RESTORE took the rows of batch 2, 3" in done.stdout
    assert "on_restore: reimport" in done.stdout
    assert lake.table_ids() == before
    assert table(lake).history(1)[0]["operation"] == "RESTORE"
    lake.plan = "on_restore: reimport"
    lake.import_well()
    lake.check()


def test_keep_leaves_the_rows_away_and_goes_on(lake):
    lake.plan = "on_restore: keep"
    kept = lake.uris[:2]
    table(lake).restore(1)
    lake.uris.sort()
    lost = [uri for uri in lake.uris if uri not in kept]
    summary = lake.import_well()
    assert any("on_restore: keep" in note for note in summary.steps[0].imported.notes)
    assert summary.steps[0].imported.batches == []
    uri = lake.add("new.json")
    lake.import_well()
    assert lake.table_ids() == sum((lake.ids_of[u] for u in [*kept, uri]), start=type(lake.ids)())
    assert len(lost) == 4
    lake.import_well()
    assert lake.table_ids() == sum((lake.ids_of[u] for u in [*kept, uri]), start=type(lake.ids)())


def test_reimport_gives_new_numbers_and_names_what_they_replay(lake):
    lake.plan = "on_restore: reimport"
    table(lake).restore(1)
    lake.add("new.json")
    summary = lake.import_well()
    assert [(batch.number, batch.replays) for batch in summary.steps[0].imported.batches] == [(4, 2), (5, 3), (6, None)]
    lake.check()
    assert lake.import_well().steps[0].imported.batches == []
    assert batches(lake) == sorted([(1, None)] * 2 + [(4, 2)] * 2 + [(5, 3)] * 2 + [(6, None)], key=str)


def test_restored_to_nothing_everything_comes_again(lake):
    lake.plan = "on_restore: reimport"
    table(lake).restore(0)
    lake.import_well()
    lake.check()


@pytest.mark.parametrize("policy", ["reimport", "ask", "keep"])
def test_a_restore_forward_again_changes_nothing(lake, policy):
    lake.plan = f"on_restore: {policy}"
    table(lake).restore(1)
    table(lake).restore(3)
    assert lake.import_well().steps[0].imported.batches == []
    lake.check()


def test_back_to_before_the_restore_after_a_reimport_repeats_nothing(lake):
    """At version 3 the rows are those of the first import, which the ledger no longer names as the last."""
    lake.plan = "on_restore: reimport"
    table(lake).restore(1)  # version 4; imported again as 5 and 6
    lake.import_well()
    table(lake).restore(3)
    lake.import_well()
    lake.check()


def test_back_to_just_behind_the_restore_loses_nothing(lake):
    """At version 4 neither the first import's rows nor those of the second are there, though 4 lies above the first."""
    lake.plan = "on_restore: reimport"
    table(lake).restore(1)  # version 4
    lake.import_well()
    lake.check()
    table(lake).restore(4)
    lake.import_well()
    lake.check()
    table(lake).restore(5)  # in the middle of the first reimport
    lake.import_well()
    lake.check()


def test_rows_kept_away_do_not_come_back_with_a_later_restore(lake):
    """What `keep` decided for one RESTORE is not undone by another, harmless one."""
    lake.plan = "on_restore: keep"
    table(lake).restore(1)
    lake.add("new.json")
    lake.import_well()  # the note is taken; the new batch remembers how far RESTOREs were dealt with
    held = lake.table_ids()
    version = table(lake).history(1)[0]["version"]
    uri = lake.add("newer.json")
    lake.import_well()
    lake.plan = "on_restore: reimport"
    table(lake).restore(version)
    assert lake.table_ids() == held
    lake.import_well()
    assert lake.table_ids() == held + lake.ids_of[uri]


def test_a_reset_object_whose_rows_were_deleted_comes_again(lake):
    """The rows that a person deleted before the reset do not count as being there."""
    from deltalake import DeltaTable

    lake.plan = "on_restore: reimport"
    DeltaTable(lake.table_uri).delete()  # version 4
    assert lake.connect().ledger(lake.workflow).reset() == 6
    lake.import_well()
    assert lake.table_ids() == lake.ids
    table(lake).restore(4)
    lake.import_well()
    assert lake.table_ids() == lake.ids


@pytest.mark.parametrize("name", KILLED_AT)
def test_killed_while_batches_come_again(lake, name):
    lake.plan = "on_restore: reimport"
    table(lake).restore(0)
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill:2")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.import_well()
    lake.check()


def test_restored_while_a_batch_is_open(lake):
    lake.add("new.json")
    lake.plan = "on_restore: reimport"
    assert lake.run(LAKERAY_FAILPOINTS="before_commit=kill").returncode == -9
    table(lake).restore(1)
    lake.import_well()
    lake.check()


def test_restored_before_the_batch_was_recorded(lake):
    lake.add("new.json")
    lake.plan = "on_restore: reimport"
    assert lake.run(LAKERAY_FAILPOINTS="after_commit=kill").returncode == -9
    table(lake).restore(1)
    lake.import_well()
    lake.check()


def test_a_restore_while_batches_come_again_is_seen_too(lake, monkeypatch):
    """RESTOREs count as dealt with up to the version that was looked at, not up to the version at the end."""
    lake.plan = "on_restore: reimport"
    table(lake).restore(1)
    plain = recovery.lost_to_restore

    def and_another(*arguments, **options):
        found = plain(*arguments, **options)
        table(lake).restore(0)
        return found

    monkeypatch.setattr("lakeray.importer.loop.lost_to_restore", and_another)
    lake.import_well()
    monkeypatch.undo()
    lake.add("new.json")
    lake.import_well()
    lake.import_well()
    lake.check()


def test_an_object_that_changed_since_is_accounted_for(lake):
    lake.plan = "on_restore: reimport"
    table(lake).restore(1)
    lake.add("02.json")
    lake.import_well()
    assert lake.table_ids() == lake.ids
    rows = lake.connect().ledger(lake.workflow).show(limit=None).to_pylist()
    assert sorted(row["outcome"] for row in rows if row["uri"].endswith("/02.json")) in (
        ["loaded", "superseded"],
        ["partly_loaded", "superseded"],
    )


def test_a_batch_of_this_very_moment_is_not_lost(lake):
    """The ledger may know a batch that was committed after the table was opened: that is no loss."""
    lake.plan = "on_restore: reimport"
    table(lake).restore(1)
    lake.import_well()
    table(lake).restore(4)
    lake.import_well()
    stale = open_table(lake.table_uri)
    lake.add("new.json")
    lake.import_well()
    assert recovery.lost_to_restore(context_of(lake), stale, 0, str).batches == []


def test_a_restore_behind_the_handle_is_left_to_the_next_look(lake):
    """It may have taken away a batch that another importer committed and nobody has recorded yet."""
    lake.plan = "on_restore: reimport"
    stale = open_table(lake.table_uri)
    table(lake).restore(1)
    looked = recovery.lost_to_restore(context_of(lake), stale, 0, str)
    assert (looked.version, looked.batches) == (stale.version, [])
    fresh = open_table(lake.table_uri)
    assert recovery.lost_to_restore(context_of(lake), fresh, looked.version, str).batches


def context_of(lake):
    connected = lake.connect()
    return connected._context(connected.validate(lake.workflow), "ingest")


def test_effective_versions():
    assert effective_versions(9, []) == [(0, 9)]
    assert sorted(effective_versions(9, [Restore(at_version=5, to_version=2)])) == [(0, 2), (5, 9)]
    back_and_forth = [Restore(at_version=5, to_version=2), Restore(at_version=7, to_version=4)]
    assert sorted(effective_versions(9, back_and_forth)) == [(0, 4), (7, 9)]
    behind = [Restore(at_version=5, to_version=2), Restore(at_version=8, to_version=6)]
    assert sorted(effective_versions(9, behind)) == [(0, 2), (5, 6), (8, 9)]
    assert effective_versions(9, [Restore(at_version=6, to_version=0)]) == [(6, 9), (0, 0)]


def test_cancelled_between_two_batches_goes_on(lake):
    lake.plan = "on_restore: reimport"
    table(lake).restore(0)
    run = lake.connect()
    from lakeray.importer.loop import ImportLoop

    context = run._context(run.validate(lake.workflow), "ingest")
    loop = ImportLoop(context)
    loop.tally.batch = lambda done: context.cancelled.set()  # after the first batch
    with pytest.raises(Cancelled):
        loop.drain()
    lake.import_well()
    lake.check()
