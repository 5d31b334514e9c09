"""Machines are lost, and the run ends right: a node in the middle of an import, the head with everything on it, an
orchestrator that stands still until another has taken over.

Crash points: the node on which the import's driver and one of its tasks run, behind the first of eight batches; every
process of `lakeray up` and its Ray, likewise; an orchestrator with a step at work, which goes on later.
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
import redis

import lakeray
from lakeray.config import Settings
from lakeray.runtime.durable import journal
from lakeray.state import shard_of
from lakeray.workflow import events as e
from tests.integration.standing import Standing
from tests.integration.steps_on_ray import HERE
from tests.integration.test_exactly_once_ray import MARK, processes_of
from tests.polling import eventually
from tests.sample_lake import SampleLake
from tests.servers import RedisServer
from tests.unit.runtime.durable_world import completions

pytestmark = [pytest.mark.chaos, pytest.mark.ray]

TAKEN_OVER_WITHIN_S = 40
OTHER_ORCHESTRATOR_WITHIN_S = 15


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


def test_an_orchestrator_stands_still_and_goes_on_when_another_owns_its_runs(
    redis_server: RedisServer, tmp_path: Path, record_property: Any
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    text = f"""
workflow: long
steps:
  linger: {{python: {{function: "{HERE}:linger", arguments: {{sink: {tmp_path}}}}}, retry: {{initial_interval: 0s}}}}
  after: {{after: [linger], python: "{HERE}:where"}}
"""
    lake = lakeray.connect(settings=Settings(cpus=2))
    lake._cluster.connect()
    standing = Standing(redis_server.url, orchestrators=2)
    try:
        standing.begin(text, "run-1")
        standing.running("run-1", "linger")
        home = shard_of("run-1", standing.store.shards) % 2
        pid = int(eventually(lambda: owner(standing, home), 20).split("-")[-2])
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        eventually(lambda: standing.state("run-1").steps["linger"].tries.attempt == 2, OTHER_ORCHESTRATOR_WITHIN_S)
        record_property("taken_over_s", round(time.monotonic() - stopped, 1))
        (tmp_path / "go").touch()
        os.kill(pid, signal.SIGCONT)
        assert standing.ended("run-1").ended == "succeeded"
        eventually(lambda: not Path(f"/proc/{pid}").exists(), 30)  # fenced, it has ended itself
        assert set(completions(journal.history(standing.store, "run-1")).values()) == {1}
    finally:
        standing.leave()
        lake.close()


def owner(standing: Standing, number: int) -> str:
    """The name under which an orchestrator owns shards; raises StopIteration while it owns none."""
    said = (each["event"].split(" drives ")[0] for each in standing.said if " drives " in each["event"])
    return next(name for name in said if name.startswith(f"orchestrator-{number}-"))


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
