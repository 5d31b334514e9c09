"""`lakeray up` on one local Ray: steps as tasks and in warm processes, dying workers and orchestrators, leaving."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.errors import ConfigError
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.embedded import open_state
from lakeray.workflow.events import AttemptFailed, StepSucceeded
from tests.integration.standing import Standing
from tests.integration.steps_on_ray import HERE
from tests.polling import eventually
from tests.sample_lake import SampleLake

pytestmark = pytest.mark.ray

AT_ONCE = "retry: {maximum_attempts: 3, initial_interval: 0s}"
TAKEN_OVER_WITHIN_S = 15


@pytest.fixture(scope="module")
def ray_lake() -> Iterator[Any]:
    """A connection whose Ray lives as long as this module."""
    lake = lakeray.connect(settings=Settings(cpus=2))
    lake._cluster.connect()
    yield lake
    lake.close()


def named(title: str) -> bool:
    """Whether Ray knows a task by this name, as its dashboard does."""
    import ray

    return any(event["cat"] == f"task::{title}" for event in ray.timeline())


@pytest.fixture
def standing(ray_lake: Any, tmp_path: Path) -> Iterator[Standing]:
    stood = Standing(f"sqlite:///{tmp_path}/state.db")
    yield stood
    if stood.up is not None and not stood.up.done:
        stood.leave()


def test_steps_run_on_ray_and_what_dies_is_done_again(standing: Standing, tmp_path: Path) -> None:
    """Short steps in warm processes, reserved ones as tasks named `workflow/run/step`; death is `worker_died`;
    heartbeats come back; gates are judged; what is left waits for the next.
    """
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, batch_objects=4)
    for number in range(6):
        lake.add(f"{number:02d}.json")
    sink = f"{{sink: {tmp_path}}}"
    standing.begin(
        f"""
workflow: many
steps:
  warm: {{python: "{HERE}:where"}}
  again: {{after: [warm], python: "{HERE}:where"}}
  reserved: {{python: "{HERE}:granted", resources: {{num_cpus: 0.5, memory: 1000000}}}}
  deadly: {{python: {{function: "{HERE}:die_once", arguments: {sink}}}, {AT_ONCE}}}
  beats: {{python: "{HERE}:beat", {AT_ONCE}}}
  open: {{after: [warm], gate: {{all: [{{python: "{HERE}:yes"}}, {{python: "{HERE}:yes"}}]}}}}
  last: {{after: [open], gate: {{approval: {{role: steward}}}}}}
""",
        "run-many",
    )
    standing.begin(lake.workflow, "run-import")
    assert standing.ended("run-import").ended == "succeeded"
    lake.check()
    eventually(lambda: standing.state("run-many").steps["last"].status == "waiting", 60)
    eventually(lambda: standing.state("run-many").steps["deadly"].status == "succeeded", 60)
    steps = standing.state("run-many").steps
    assert steps["warm"].output["pid"] not in {os.getpid(), steps["reserved"].output["pid"]}
    eventually(lambda: named("many/run-many/warm"), 20)
    assert steps["reserved"].output["title"] == "ray::many/run-many/reserved"
    assert steps["reserved"].output["resources"] == {"CPU": 0.5, "memory": 1000000}
    assert steps["deadly"].output == 2
    assert steps["beats"].output == {"row": 41}
    assert steps["open"].status == "succeeded"
    died = [event for event in journal.history(standing.store, "run-many") if isinstance(event, AttemptFailed)]
    assert {(event.step, event.cause) for event in died} == {("deadly", "worker_died"), ("beats", "error")}
    assert standing.leave().left == ["run-many"]
    lines = [(each.get("run"), each.get("step"), each["event"]) for each in standing.said]
    assert ("run-import", None, "succeeded") in lines
    assert ("run-many", "deadly", steps["deadly"].error) not in lines
    assert any(run == "run-many" and step == "last" and said == "waits at its gate" for run, step, said in lines)


def test_an_orchestrator_that_is_killed_is_taken_over_in_time(
    standing: Standing, tmp_path: Path, record_property: Any
) -> None:
    import ray

    text = f"""
workflow: long
steps:
  linger: {{python: {{function: "{HERE}:linger", arguments: {{sink: {tmp_path}}}}}, {AT_ONCE}}}
  after: {{after: [linger], python: "{HERE}:where"}}
"""
    standing.begin(text, "run-long")
    standing.running("run-long", "linger")
    ray.kill(ray.get_actor(f"{standing.up.run_id}-orchestrator-0"), no_restart=False)
    killed = time.monotonic()
    eventually(lambda: standing.state("run-long").steps["linger"].tries.attempt == 2, TAKEN_OVER_WITHIN_S)
    record_property("taken_over_s", round(time.monotonic() - killed, 1))
    (tmp_path / "go").touch()
    assert standing.ended("run-long").ended == "succeeded"


def test_asked_to_leave_it_stops_what_listens_and_the_next_one_goes_on(standing: Standing, tmp_path: Path) -> None:
    text = f"""
workflow: long
steps:
  linger: {{python: {{function: "{HERE}:linger", arguments: {{sink: {tmp_path}}}}}, {AT_ONCE}}}
"""
    standing.begin(text, "run-left")
    standing.running("run-left", "linger")
    assert standing.leave().left == ["run-left"]
    following = Standing(f"sqlite:///{tmp_path}/state.db")
    (tmp_path / "go").touch()
    try:
        assert following.ended("run-left").ended == "succeeded"
    finally:
        following.leave()


def test_work_that_hears_nobody_is_ended_by_force(standing: Standing, tmp_path: Path) -> None:
    """A step that is cancelled has its grace; then its process is gone."""
    text = f"""
workflow: deaf
steps:
  deaf: {{python: {{function: "{HERE}:deaf", arguments: {{sink: {tmp_path}}}}}, timeouts: {{start_to_close: 1s}}}}
"""
    standing.begin(text.replace("1s}}", "1s}, retry: {maximum_attempts: 1}}"), "run-deaf")
    assert standing.ended("run-deaf").ended == "failed"
    pid = int((tmp_path / "deaf").read_text())
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 60)


def test_runs_begin_by_themselves_and_a_backfill_goes_on_beside_them(ray_lake: Any, tmp_path: Path) -> None:
    """A file that is handed to `lakeray up` is registered: new objects begin a run. A backfill, asked for by another
    process, is driven here.
    """
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, batch_objects=4)
    for number in range(6):
        lake.add(f"{number:02d}.json")
    file = tmp_path / "triggered.yaml"
    file.write_text("triggers: {came: {arrival: {source: raw, every: 1s}}}\n" + Path(lake.workflow).read_text())
    state = f"sqlite:///{tmp_path}/state.db"
    stood = Standing(state, files=[str(file)])
    try:
        eventually(lambda: [head for head in stood.store.runs().runs if head.ended_at], 60)
        lake.check()
        lake.add("late.json")
        eventually(lambda: len([head for head in stood.store.runs().runs if head.ended_at]) == 2, 60)
        lake.check()
        other = lakeray.connect(settings=Settings(cpus=2, state=state))
        backfill = other.backfill(lake.workflow, start="2000-01-01", end="2099-12-31", every="50 years")
        assert backfill.result(timeout=120).succeeded == 2
        lake.check()
    finally:
        stood.leave()
    assert any("trigger came" in said["event"] for said in stood.said)


def test_several_orchestrators_over_a_file_are_refused(ray_lake: Any, tmp_path: Path) -> None:
    lake = lakeray.connect(settings=Settings(cpus=2, state=f"sqlite:///{tmp_path}/state.db"))
    with pytest.raises(ConfigError, match="2 orchestrators cannot share an embedded state"):
        lake.up(orchestrators=2).result(timeout=60)


def test_a_run_in_the_foreground_reserves_what_its_steps_ask_for(ray_lake: Any, tmp_path: Path) -> None:
    """The step is a task of its own; the other one is done here."""
    file = tmp_path / "reserves.yaml"
    file.write_text(f"""
workflow: reserves
steps:
  reserved: {{python: "{HERE}:granted", resources: {{num_cpus: 2}}}}
  here: {{python: "{HERE}:where"}}
""")
    state = f"sqlite:///{tmp_path}/state.db"
    run = lakeray.connect(settings=Settings(cpus=2, state=state)).run(file)
    assert run.result(timeout=60).state == "succeeded"
    with open_state(state) as store:
        history = journal.history(store, run.run_id)
    steps = {event.step: event.output for event in history if isinstance(event, StepSucceeded)}
    assert steps["here"]["pid"] == os.getpid()
    assert steps["reserved"]["pid"] != os.getpid()
    assert steps["reserved"]["resources"] == {"CPU": 2.0}
