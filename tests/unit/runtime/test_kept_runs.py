"""What becomes of ended runs, and of a state that is only looked at."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.errors import LeaseHeld, ObjectError
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable import embedded
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.runtime.durable.retention import Keeping
from lakeray.workflow.refusal import Refused
from tests.commands import lakeray as command
from tests.sample_lake import finished

HERE = "tests.unit.runtime.test_kept_runs"
WITHIN_S = 60
FILE = f'workflow: kept\nsteps:\n  s: {{python: "{HERE}:fine"}}\n'


def fine():
    return "fine"


def connect(folder: Path, **more):
    state = f"sqlite:///{folder}/state.db"
    settings = Settings(executor="inline", catalog=str(folder / "catalog"), state=state, **more)
    return lakeray.connect(settings=settings)


def run(folder: Path, name: str = "kept") -> str:
    file = folder / f"{name}.yaml"
    file.write_text(FILE.replace("kept", name))
    return connect(folder).run(file).result(WITHIN_S).run_id


def test_ended_runs_leave_the_state_and_can_be_looked_at_in_the_archive(tmp_path):
    first, second = run(tmp_path), run(tmp_path, "other")
    before = connect(tmp_path).runs.show(first)
    lake = connect(tmp_path, archive=str(tmp_path / "archive"))
    with pytest.raises(Refused, match="how long"):
        lake.runs.archive()
    assert lake.runs.archive(older_than_s=3600.0).runs == 0
    done = lake.runs.archive(older_than_s=0.0)
    assert (done.runs, len(done.files)) == (2, 1)
    assert lake.runs.list() == []
    assert [line.run_id for line in lake.runs.archived(done.into)] == [second, first]
    assert [line.run_id for line in lake.runs.archived(done.into, workflow="kept")] == [first]
    shown = lake.runs.show(first, archive=done.into)
    assert shown == before
    with pytest.raises(Refused, match="no run run-x in"):
        lake.runs.show("run-x", archive=done.into)
    assert lake.runs.archived(str(tmp_path / "nowhere")) == []


def test_a_run_that_cannot_be_archived_stays(tmp_path):
    run(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ObjectError):
        connect(tmp_path).runs.archive(older_than_s=0.0, into=str(tmp_path / "file" / "archive"))
    assert len(connect(tmp_path).runs.list()) == 1


@pytest.mark.parametrize("point", ["before_forget", "after_forget"])
def test_a_kill_between_archive_and_state_loses_no_run(tmp_path, point):
    """Crash points: the file is written and the runs are not forgotten; they are, and nobody was told."""
    run_id = run(tmp_path)
    env = {**os.environ, "LAKERAY_STATE": f"sqlite:///{tmp_path}/state.db", "LAKERAY_RETENTION": "0s"}
    arguments = ("runs", "archive", "--into", str(tmp_path / "archive"), "--json")
    killed = command(*arguments, env={**env, "LAKERAY_FAILPOINTS": f"{point}=kill"}, cwd=tmp_path)
    assert finished(killed, within_s=WITHIN_S).returncode == -9
    again = finished(command(*arguments, env=env, cwd=tmp_path), within_s=WITHIN_S)
    assert again.returncode == 0, again.stderr
    lake = connect(tmp_path)
    assert lake.runs.list() == []
    assert [line.run_id for line in lake.runs.archived(str(tmp_path / "archive"))] == [run_id]
    assert lake.runs.show(run_id, archive=str(tmp_path / "archive")).state == "succeeded"


def test_the_duty_keeps_to_the_retention(tmp_path):
    run(tmp_path)
    with embedded.open_state(f"sqlite:///{tmp_path}/state.db") as store:
        Keeping(store=store, into=str(tmp_path / "archive"), older_than_s=0.0).tick()
    assert connect(tmp_path).runs.list() == []


def test_looking_makes_no_state(tmp_path):
    lake = connect(tmp_path)
    assert lake.runs.list() == []
    assert lake.pools.list() == []
    assert lake.breakers.list() == []
    assert lake.deadletters.list() == []
    for look in (lake.runs.show, lake.runs.events, lake.runs.retry, lake.runs.resume, lake.runs.cancel):
        with pytest.raises(Refused, match="no run run-x"):
            look("run-x")
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_beside_an_owner_is_refused_at_once_with_what_to_do(tmp_path):
    store = embedded.open_state(f"sqlite:///{tmp_path}/state.db")
    owner = Orchestrator(store, owner="somebody", clock=utc_now)
    owner.open()
    try:
        began = time.monotonic()
        (tmp_path / "w.yaml").write_text(FILE)
        with pytest.raises(LeaseHeld, match=rf"somebody, process {os.getpid()}") as caught:
            connect(tmp_path).run(tmp_path / "w.yaml").result(WITHIN_S)
        assert time.monotonic() - began < 5
        assert "LAKERAY_STATE=redis://" in (caught.value.hint or "")
    finally:
        owner.close()
        store.close()
