"""`lakeray schedules`, `lakeray backfill` and `lakeray ledger claims` on a real state: they do what they say."""

from __future__ import annotations

import json

import pytest

WORKFLOW = """
workflow: orders
schedule: {{cron: "0 6 * * *", timezone: Europe/Berlin, overlap: skip}}
triggers: {{came: {{arrival: raw}}}}
sources: {{raw: {{uri: "{folder}/raw/", format: json}}}}
tables: {{orders: {{uri: "{folder}/orders"}}}}
steps:
  ingest: {{import: {{from: raw, into: orders}}}}
  odd: {{import: {{from: raw, into: orders, mode: overwrite}}}}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKERAY_STATE", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("LAKERAY_EXECUTOR", "inline")
    monkeypatch.setenv("COLUMNS", "200")
    for day in range(1, 5):
        folder = tmp_path / "raw" / f"day=2024-01-0{day}"
        folder.mkdir(parents=True)
        (folder / "o.json").write_text(json.dumps({"id": day}) + "\n")
    path = tmp_path / "orders.yaml"
    path.write_text(WORKFLOW.format(folder=tmp_path))
    return str(path)


def test_a_schedule_from_its_file_to_its_end(file, tell):
    added = tell("schedules", "add", file, "--json")
    assert added.code == 0, added.err
    lines = added.document["schedules"]
    assert [(line["name"], line["kind"]) for line in lines] == [("schedule", "cron"), ("came", "arrival")]
    assert lines[0]["next_at"]
    assert "0 6 * * * Europe/Berlin" in tell("schedules", "list").out
    times = tell("schedules", "next", "orders", "-n", "3", "--json").document["next"]
    assert len(times) == 3
    assert all(time.endswith(("T04:00:00+00:00", "T05:00:00+00:00")) for time in times)
    paused = tell("schedules", "pause", "orders", "--trigger", "came", "--reason", "moved", "--json").document
    assert [line["paused"] for line in paused["schedules"]] == [None, "moved"]
    assert tell("schedules", "pause", "orders", "--trigger", "cam").code == 1
    resumed = tell("schedules", "resume", "orders", "--json").document
    assert [line["paused"] for line in resumed["schedules"]] == [None, None]
    begun = tell("schedules", "trigger", "orders", "--json").document
    assert begun["state"] == "begun"
    skipped = tell("schedules", "trigger", "orders", "--json").document
    assert (skipped["state"], skipped["reason"]) == ("skipped", "another run goes on")
    assert begun["run_id"] in str(tell("schedules", "show", "orders", "--json").document)
    assert tell("schedules", "remove", "orders").code == 0
    assert tell("schedules", "list", "--json").document == {"schedules": []}
    gone = tell("schedules", "show", "orders")
    assert gone.code == 1
    assert "no workflow orders is registered" in gone.err


def test_a_backfill_from_its_dry_run_to_its_claims(file, tell):
    asked = ("--step", "ingest", "--start", "2024-01-01", "--end", "2024-01-04", "--every", "1 day", "--by", "day")
    dry = tell("backfill", file, *asked, "--dry-run", "--json")
    assert dry.code == 0, dry.err
    assert dry.document["backfill"]["total"] == 4
    assert list(dry.document["objects"].values()) == [1, 1, 1, 1]
    assert "4 partitions" in tell("backfill", file, *asked, "--dry-run").out
    done = tell("backfill", "start", file, *asked, "--json")
    assert done.code == 0, done.err
    assert (done.document["backfill"]["state"], done.document["backfill"]["succeeded"]) == ("succeeded", 4)
    name = done.document["backfill"]["backfill_id"]
    assert name in tell("backfill", "list").out
    assert tell("backfill", "show", name, "--json").document["backfill"]["total"] == 4
    assert tell("backfill", "retry", name, "--json").code == 0
    assert tell("ledger", "claims", file, "--step", "ingest", "--json").document == {"claims": []}
    unknown = tell("ledger", "claims", file, "--step", "ingest", "--end", "7")
    assert (unknown.code, "no claim 7" in unknown.err) == (1, True)
    odd = tell("backfill", file, "--step", "odd", *asked[2:])
    assert (odd.code, "mode overwrite" in odd.err) == (2, True)
    assert tell("backfill", file, "--step", "ingest").code == 2
    assert tell("backfill", "--help").code == 0
