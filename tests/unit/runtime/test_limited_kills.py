"""A process that drives steps behind a pool and a breaker is killed; the next one gets its slots, and ends the run.

Crash points: before_put and after_put (a slot is asked for, given back, a failure counted; the register is changed and
nobody knows), before_append and after_append (a slot is held, the history does not say that work began; it does, and
the work never began). Afterwards every effect happened once, and no slot is held.
"""

from __future__ import annotations

from functools import partial

import pytest

from lakeray.runtime.durable.queues import PoolsOf
from lakeray.workflow import events as e
from tests.commands import Started
from tests.sample_lake import finished
from tests.unit.runtime import durable_world as world

QUEUE = "queue: {pool: db, key: orders}, breaker: {dependency: lab, failures: 5}"
LIMITED = f"""
workflow: limited
pools: {{db: 1}}
steps:
  a: {{python: "{world.HERE}:effect", {QUEUE}, {world.QUICK}}}
  b: {{python: "{world.HERE}:effect", {QUEUE}, {world.QUICK}}}
  c: {{after: [a, b], python: "{world.HERE}:fail", {QUEUE}, on_failure: continue, retry: {{maximum_attempts: 1}}}}
"""


def drive(folder, uri, **env):
    env = {**world.environment(folder, uri), **env}
    return finished(Started(["drive"], partial(world.drive, str(folder), "limited"), env, folder), 60).returncode


@pytest.mark.parametrize("point", ["before_put", "after_put", "before_append", "after_append"])
def test_a_kill_costs_no_slot_and_no_effect(tmp_path, point):
    for passes in (1, 2, 3, 5):
        folder = tmp_path / str(passes)
        uri = f"sqlite:///{folder}/state.db"
        world.prepare(folder)
        (folder / "limited.yaml").write_text(LIMITED)
        assert drive(folder, uri, LAKERAY_FAILPOINTS=f"{point}=kill:{passes}") == -9
        assert drive(folder, uri) == 0
        history = world.histories(uri)["run-limited"]
        assert isinstance(history[-1], e.RunEnded)
        assert history[-1].tolerated == ("c",)
        assert world.completions(history) == {"a": 1, "b": 1}
        assert world.effects(folder) == {"run-limited~a", "run-limited~b"}
        assert [(line.name, line.taken, line.waiting) for line in PoolsOf(state=uri).list()] == [("db", 0, [])]
