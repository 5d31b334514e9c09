"""Reprocessing killed at any named point moves each row once.

Crash points: every name in ``EVERY_IMPORT`` and ``REPROCESS`` of ``lakeray.failpoints``, on the
first pass (on the second under `make chaos`): before and after its manifest, while rows are restored, around the
result, the commit and its reply, between the commit and the refused rows, before and after rows leave quarantine,
around the ledger. After the kill either the same command or a plain run goes on. What must be where is counted from
the objects.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from lakeray.failpoints import EVERY_IMPORT, REPROCESS
from lakeray.objects import open_store
from tests.sample_lake import MALFORMED, SampleLake, read

NAMES = (*EVERY_IMPORT, *REPROCESS)
PASSES = [1, pytest.param(2, marks=pytest.mark.chaos)]
AMOUNT = 5000.0


@pytest.fixture
def lake(tmp_path):
    """Four objects with rows that are too large; then the rule is corrected."""
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, batch_objects=2)
    for number in range(4):
        lake.add(f"2024/{number:02d}.json", rows=40)
    lake.import_well()
    lake.check()
    lake.small = 10_000
    return lake


def passing(lake):
    """Ids of rows that the corrected rule accepts; (object, line) of those that nobody can read."""
    ids, broken = Counter(lake.ids), Counter()
    for uri in lake.uris:
        for number, line in enumerate(open_store(uri).read(uri).splitlines(keepends=True), 1):
            if line == MALFORMED:
                broken[uri, number] += 1
            elif json.loads(line)["amount"] == AMOUNT:
                ids[json.loads(line)["id"]] += 1
    assert ids.total() > lake.ids.total()
    assert broken
    return ids, broken


def reprocess(lake, **env):
    return lake.command("quarantine", "reprocess", str(lake.workflow), "--json", **env)


@pytest.mark.parametrize("goes_on", ["reprocess", "run"])
@pytest.mark.parametrize("count", PASSES)
@pytest.mark.parametrize("name", NAMES)
def test_kill(lake, name, count, goes_on):
    ids, broken = passing(lake)
    killed = reprocess(lake, LAKERAY_FAILPOINTS=f"{name}=kill:{count}")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    if goes_on == "run":
        lake.import_well()
    again = lake.connect().quarantine(lake.workflow).reprocess().result(timeout=60)
    assert again.state == "succeeded", again.errors
    assert lake.table_ids() == ids
    assert lake.quarantined() == broken
    assert lake.import_well().steps[0].imported.rows.read == 0
    lake.check_folder()


def test_a_lost_reply_repeats_nothing(lake):
    ids, broken = passing(lake)
    done = reprocess(lake, LAKERAY_FAILPOINTS="commit_reply=error:1")
    assert done.returncode == 0, done.stderr
    assert (lake.table_ids(), lake.quarantined()) == (ids, broken)
    document = json.loads(done.stdout)
    rows = document["import"]["rows"]
    assert rows["read"] == rows["written"] + rows["quarantined"]
    assert rows["written"] == ids.total() - lake.ids.total()


def test_two_at_once_move_each_row_once(lake):
    ids, broken = passing(lake)
    processes = [lake.start("quarantine", "reprocess", str(lake.workflow), "--json") for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    assert (lake.table_ids(), lake.quarantined()) == (ids, broken)
    lake.check_folder()


def test_show_counts_and_purge_deletes_what_was_chosen(lake):
    shown = json.loads(lake.command("quarantine", "show", str(lake.workflow), "--rule", "small", "--json").stdout)
    count = sum(item["rows"] for item in shown["counts"])
    assert {item["rule"] for item in shown["counts"]} == {"expect:small"}
    assert count > 0
    purge = ("quarantine", "purge", str(lake.workflow), "--rule", "small", "--json")
    assert json.loads(lake.command(*purge).stdout) == {"deleted": False, "rows": count}
    assert lake.quarantined() == lake.refused
    assert json.loads(lake.command(*purge, "--yes").stdout) == {"deleted": True, "rows": count}
    assert set(read(lake.quarantine_uri)["rule"].to_pylist()) == {"malformed"}
    none = ("quarantine", "purge", str(lake.workflow), "--older-than", "1d", "--yes", "--json")
    assert json.loads(lake.command(*none).stdout) == {"deleted": True, "rows": 0}
