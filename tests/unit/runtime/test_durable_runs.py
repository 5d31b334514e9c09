"""Durable runs as a person meets them: gates, going on in another process, undoing, retrying, forking, two owners."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from deltalake import DeltaTable

import lakeray
from lakeray.cli.run import exit_code, going_on
from lakeray.config import Settings
from lakeray.errors import Cancelled, LeaseHeld, SpecError
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable import embedded
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.workflow.refusal import Refused
from tests.polling import eventually

HERE = "tests.unit.runtime.test_durable_runs"
WITHIN_S = 60
IMPORT = """
workflow: orders
sources: {{raw: {{uri: {folder}/raw/, format: json}}}}
tables: {{orders: {{uri: {folder}/orders, provenance: true}}}}
steps:
  ingest: {{import: {{from: raw, into: orders}}, compensate: withdraw}}
"""
GATE = """
  release:
    after: [ingest]
    gate:
      all:
        - data_quality: {{step: ingest, metric: rows_written, at_least: 1}}
        - data_quality: {{table: orders, metric: rows, at_least: 1}}
        - approval: {{role: steward{approval}}}
  publish: {{after: [release], python: "{here}:publish"}}
"""
LET_GO = threading.Event()
FAILS: list[str] = []


def publish(context):
    return {"rows": context.outputs["ingest"]["metrics"]["rows_written"], "key": context.idempotency_key}


def flaky():
    if FAILS:
        raise RuntimeError(FAILS.pop())
    return "fine"


def slow(context):
    context.heartbeat({"seen": 1})
    while not (LET_GO.is_set() or context.cancelled.wait(0.01)):
        pass
    if context.cancelled.is_set():
        raise Cancelled("asked to stop")
    return context.details


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.json").write_text('{"id": 1}\n{"id": 2}\n')
    FAILS.clear()
    LET_GO.clear()
    return tmp_path


def connect(folder: Path):
    state = f"sqlite:///{folder}/state.db"
    return lakeray.connect(settings=Settings(executor="inline", catalog=str(folder / "catalog"), state=state))


def write(folder, *parts, approval="", name="w.yaml"):
    path = folder / name
    path.write_text("".join(parts).format(folder=folder, here=HERE, approval=approval))
    return path


def _ids(folder):
    return DeltaTable(str(folder / "orders")).to_pyarrow_table()["id"].to_pylist()


def test_a_gate_waits_for_a_person_and_says_how_to_go_on(folder):
    file = write(folder, IMPORT, GATE)
    summary = connect(folder).run(file).result(WITHIN_S)
    assert (summary.state, exit_code(summary, continuous=False)) == ("waiting", 3)
    [line] = [str(part) for part in going_on(summary)]
    assert f"lakeray runs approve {summary.run_id} --gate release" in line
    again = connect(folder).run(file).result(WITHIN_S)
    assert (again.run_id, again.state) == (summary.run_id, "waiting"), "the same run is carried on"
    done = connect(folder).runs.approve(summary.run_id, comment="checked", by="ann").result(WITHIN_S)
    assert done.state == "succeeded"
    assert [step.state for step in done.steps] == ["succeeded"] * 3
    assert any("ann approved it: checked" in note for note in done.notes)
    [kept] = connect(folder).runs.list()
    assert (kept.run_id, kept.state) == (done.run_id, "succeeded")
    assert connect(folder).runs.replay_check(done.run_id) == []
    shown = connect(folder).runs.show(done.run_id)
    assert shown.steps[0].imported == done.steps[0].imported
    assert "<" in connect(folder).run(file)._repr_html_()


def test_a_run_that_keeps_watching_does_not_walk_past_a_gate(folder):
    with pytest.raises(SpecError, match="step release is of kind gate") as caught:
        connect(folder).run(write(folder, IMPORT, GATE), continuous=True)
    assert "without --continuous" in (caught.value.hint or "")
    assert not (folder / "orders").exists()


def test_a_refused_gate_fails_the_run_with_exit_code_3_and_what_was_imported_is_withdrawn(folder):
    summary = connect(folder).run(write(folder, IMPORT, GATE)).result(WITHIN_S)
    done = connect(folder).runs.reject(summary.run_id, gate="release").result(WITHIN_S)
    assert (done.state, exit_code(done, continuous=False)) == ("failed", 3)
    assert _ids(folder) == []
    assert any("2 rows of this run were withdrawn" in note for note in done.notes)
    assert [error.code for error in done.errors] == ["gate_refused"]


def test_whoever_started_the_run_may_not_approve_it_under_four_eyes(folder):
    summary = connect(folder).run(write(folder, IMPORT, GATE, approval=", four_eyes: true")).result(WITHIN_S)
    with pytest.raises(Refused, match="four_eyes"):
        connect(folder).runs.approve(summary.run_id).result(WITHIN_S)
    with pytest.raises(Refused, match="role steward"):
        connect(folder).runs.approve(summary.run_id, by="ann", roles=["clerk"]).result(WITHIN_S)
    assert connect(folder).runs.approve(summary.run_id, by="ann").result(WITHIN_S).state == "succeeded"


def test_a_run_that_failed_goes_on_from_the_failed_step(folder):
    step = '  last: {{after: [ingest], python: "{here}:flaky", retry: {{maximum_attempts: 1}}}}\n'
    file = write(folder, IMPORT.replace(", compensate: withdraw", ""), step)
    FAILS.append("down")
    failed = connect(folder).run(file).result(WITHIN_S)
    assert [step.state for step in failed.steps] == ["succeeded", "failed"]
    assert failed.errors[0].code == "RuntimeError"
    done = connect(folder).runs.retry(failed.run_id).result(WITHIN_S)
    assert (done.run_id, done.state, done.steps[1].attempts) == (failed.run_id, "succeeded", 2)
    forked = connect(folder).runs.fork(done.run_id, from_step="last").result(WITHIN_S)
    assert forked.state == "succeeded"
    assert forked.run_id != done.run_id
    assert sorted(_ids(folder)) == [1, 2], "the fork did not import again"
    with pytest.raises(Refused):
        connect(folder).runs.retry(done.run_id).result(WITHIN_S)


def test_a_retry_is_told_as_a_note_and_counted(folder):
    step = '  last: {{python: "{here}:flaky", retry: {{initial_interval: 0s}}}}\n'
    FAILS.extend(["a", "b"])
    done = connect(folder).run(write(folder, "workflow: w\nsteps:\n", step)).result(WITHIN_S)
    assert (done.state, done.steps[0].attempts) == ("succeeded", 3)
    assert sum("attempt" in note for note in done.notes) == 2


def test_a_run_that_was_stopped_goes_on_with_the_next_command(folder):
    file = write(folder, "workflow: w\nsteps:\n", '  long: {{python: "{here}:slow"}}\n')
    run = connect(folder).run(file)
    eventually(lambda: run.summary.state == "running" and len(connect(folder).runs.events(run.run_id)) == 4, WITHIN_S)
    run.cancel()
    assert run.result(WITHIN_S).state == "cancelled"
    assert connect(folder).runs.list()[0].state == "running", "nobody ended it"
    LET_GO.set()
    done = connect(folder).run(file).result(WITHIN_S)
    assert (done.run_id, done.state) == (run.run_id, "succeeded")


def test_another_version_of_the_file_begins_a_run_and_says_what_is_left(folder):
    left = connect(folder).run(write(folder, IMPORT, GATE)).result(WITHIN_S)
    done = connect(folder).run(write(folder, IMPORT)).result(WITHIN_S)
    assert done.run_id != left.run_id
    assert any(f"lakeray runs resume {left.run_id}" in note for note in done.notes)


def test_a_paused_run_waits_for_resume(folder):
    summary = connect(folder).run(write(folder, IMPORT, GATE)).result(WITHIN_S)
    paused = connect(folder).runs.pause(summary.run_id, reason="later").result(WITHIN_S)
    assert paused.state == "waiting"
    assert connect(folder).runs.list()[0].state == "paused"
    resumed = connect(folder).runs.resume(summary.run_id).result(WITHIN_S)
    assert resumed.needs
    ended = connect(folder).runs.terminate(summary.run_id).result(WITHIN_S)
    assert ended.state == "cancelled"
    assert sorted(_ids(folder)) == [1, 2], "nothing is undone"
    with pytest.raises(Refused, match="is over"):
        connect(folder).runs.resume(summary.run_id)


def test_a_cancelled_run_undoes_what_it_did(folder):
    summary = connect(folder).run(write(folder, IMPORT, GATE)).result(WITHIN_S)
    done = connect(folder).runs.cancel(summary.run_id).result(WITHIN_S)
    assert done.state == "cancelled"
    assert _ids(folder) == []


def test_an_embedded_state_has_one_owner_and_says_which(folder, monkeypatch):
    """Commands reach the owner through the inbox; a second run is refused by name."""
    monkeypatch.setattr(embedded, "WAIT_FOR_OWNER_S", 0.0)
    summary = connect(folder).run(write(folder, IMPORT, GATE)).result(WITHIN_S)
    store = embedded.open_state(f"sqlite:///{folder}/state.db")
    other = Orchestrator(store, owner="somebody", clock=utc_now, poll_s=0.01)
    other.open()
    try:
        told = connect(folder).runs.approve(summary.run_id, by="ann")
        assert told.run_id == summary.run_id, "how the run stands with its owner"
        [event] = [line for line in connect(folder).runs.events(summary.run_id) if line.event == "ApprovalGiven"]
        assert event.said["principal"] == "ann"
        with pytest.raises(Refused, match="already"):
            connect(folder).runs.approve(summary.run_id, by="ann")
        with pytest.raises(LeaseHeld, match="somebody"):
            connect(folder).run(write(folder, IMPORT, name="x.yaml")).result(WITHIN_S)
    finally:
        other.close()
        store.close()
    assert connect(folder).runs.resume(summary.run_id).result(WITHIN_S).state == "succeeded"


def test_no_such_run(folder):
    with pytest.raises(Refused, match="no run"):
        connect(folder).runs.show("run-x")
