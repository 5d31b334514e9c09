"""Whatever crashes, hangs, dies or is asked of a run in a world decided by a seed, its history is right and it ends.

``LAKERAY_ENGINE_SEEDS`` worlds (default 200, marked chaos 10,000), from ``LAKERAY_ENGINE_SEED`` (default 0) on. Crash
points: before and after every append. A seed that fails stands in the message.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter

import pytest

from lakeray.workflow import codec
from lakeray.workflow import events as e
from lakeray.workflow.evolve import fold
from lakeray.workflow.replay import replay_check
from lakeray.workflow.state import RunState
from tests.properties.engine_checks import check_history
from tests.properties.engine_world import World, random_definition

SEEDS = int(os.environ.get("LAKERAY_ENGINE_SEEDS", "200"))
MANY = int(os.environ.get("LAKERAY_ENGINE_SEEDS", "10000"))
FIRST = int(os.environ.get("LAKERAY_ENGINE_SEED", "0"))


def simulate(seed: int) -> World:
    """One world from its beginning to its end, checked."""
    world = World(seed=seed)
    world.run(random_definition(random.Random(seed)))
    for run_id, stored in world.histories.items():
        history = [codec.decode(*each) for each in stored]
        try:
            check_history(history)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, run {run_id}: {error}") from error
        state = fold(history)
        assert isinstance(state, RunState)
        assert state.ended is not None, f"seed {seed}: run {run_id} never ends"
        effects(world, state, seed)
        children(world, state, seed)
        assert not replay_check(history), f"seed {seed}, run {run_id}"
    return world


def effects(world: World, state: RunState, seed: int) -> None:
    """What succeeded is in the sink once, what was undone is not."""
    for name, step in state.steps.items():
        kind = state.plan(name).kind
        if kind not in ("python", "import") or not step.key or step.undo_error is not None:
            continue
        if step.status == "succeeded":
            assert world.sink.has(step.key), f"seed {seed}: {state.run_id} {name} succeeded and left no effect"


def children(world: World, state: RunState, seed: int) -> None:
    """No run ends before the runs that it started, unless a person ends it by force."""
    for run_id in world.histories:
        child = world.state(run_id)
        if child is not None and child.parent is not None and child.parent.run_id == state.run_id:
            assert state.ended == "terminated" or child.ended_at <= state.ended_at, f"seed {seed}: {run_id}"


def many(seeds: range) -> Counter[str]:
    """Every world of the seeds, and what happened in all of them."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        world = simulate(seed)
        seen["crashes"] += world.crashes
        for stored in world.histories.values():
            seen.update(name for name, _, _ in stored)
            for name, version, data in stored:
                event = codec.decode(name, version, data)
                if isinstance(event, e.RunEnded):
                    seen[event.state] += 1
    return seen


def test_every_world_ends_right():
    seen = many(range(FIRST, FIRST + SEEDS))
    assert not set(codec.TYPES) - set(seen), "the worlds are too tame: these events never happened"
    assert {"succeeded", "failed", "cancelled"} <= set(seen)
    assert seen["crashes"] > SEEDS


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_ten_thousand_worlds_end_right(capsys):
    for first in range(FIRST, FIRST + MANY, 500):
        seen = many(range(first, min(first + 500, FIRST + MANY)))
        with capsys.disabled():
            sys.stdout.write(f"\nengine: from seed {first}: {seen['crashes']} crashes, {seen['RunEnded']} ends of runs")
