"""A node of a cluster is lost in the middle of an import; the head is lost with everything on it: the run ends right.

Crash points: the node on which the import's driver and one of its tasks run, behind the first of eight batches; every
process of `lakeray up` and its Ray, likewise.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakeray.runtime.durable import journal
from lakeray.workflow import events as e
from tests.integration.standing import Standing
from tests.integration.test_exactly_once_ray import MARK, processes_of
from tests.polling import eventually
from tests.sample_lake import SampleLake

pytestmark = [pytest.mark.chaos, pytest.mark.ray]

TAKEN_OVER_WITHIN_S = 40


@pytest.fixture
def lake(tmp_path: Path) -> SampleLake:
    """Eight batches of two objects."""
    lake = SampleLake(
        root=str(tmp_path / "lake"), folder=tmp_path, batch_objects=2, extra="    apply: tests.hooks:slow"
    )
    for number in range(16):
        lake.add(f"{number:02d}.json")
    return lake


def beats(standing: Standing) -> list[e.Event]:
    return [event for event in journal.history(standing.store, "run-1") if isinstance(event, e.StepHeartbeat)]


def goes_on(standing: Standing, before: int) -> bool:
    return len(beats(standing)) > before or standing.state("run-1").ended is not None


@pytest.fixture
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_node_is_lost_in_the_middle_of_an_import(
    cluster: Any, lake: SampleLake, tmp_path: Path, record_property: Any
) -> None:
    cluster.add_node(num_cpus=1)
    victim = cluster.add_node(num_cpus=1, resources={"here": 1})
    cluster.wait_for_nodes()
    lake.extra += "\n    resources: {here: 1}"
    standing = Standing(f"sqlite:///{tmp_path}/state.db", ray_address=cluster.address)
    try:
        standing.begin(lake.workflow, "run-1")
        eventually(lambda: beats(standing), 60)
        cluster.remove_node(victim, allow_graceful=False)
        before, lost = len(beats(standing)), time.monotonic()
        cluster.add_node(num_cpus=1, resources={"here": 1})
        eventually(lambda: goes_on(standing, before), TAKEN_OVER_WITHIN_S)
        record_property("taken_over_s", round(time.monotonic() - lost, 1))
        assert standing.ended("run-1", 120).ended == "succeeded"
        failed = [event for event in journal.history(standing.store, "run-1") if isinstance(event, e.AttemptFailed)]
        assert [event.cause for event in failed] == ["worker_died"]
        lake.check()
    finally:
        standing.leave()


def up(folder: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lakeray", "up"],
        env={**os.environ, **env},
        cwd=folder,
        stderr=(folder / f"up-{uuid.uuid4().hex}.log").open("wb"),
        start_new_session=True,
    )


def test_the_head_is_lost_and_started_again(lake: SampleLake, tmp_path: Path, record_property: Any) -> None:
    state = f"sqlite:///{tmp_path}/state.db"
    env = {MARK: uuid.uuid4().hex, "LAKERAY_CPUS": "2", "LAKERAY_STATE": state}
    first = up(tmp_path, env)
    standing = Standing(state, driven=False)
    standing.begin(lake.workflow, "run-1")
    eventually(lambda: beats(standing), 60)
    os.killpg(first.pid, signal.SIGKILL)
    for pid in processes_of(env):
        os.kill(pid, signal.SIGKILL)
    first.wait()
    eventually(lambda: not processes_of(env), 30)
    before, lost = len(beats(standing)), time.monotonic()
    second = up(tmp_path, env)
    try:
        eventually(lambda: goes_on(standing, before), TAKEN_OVER_WITHIN_S)
        record_property("taken_over_s", round(time.monotonic() - lost, 1))
        assert standing.ended("run-1", 120).ended == "succeeded"
        lake.check()
    finally:
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0
    eventually(lambda: not processes_of(env), 60)
