"""A process that drives runs is killed at every pass of every failpoint, and the next one ends what it left.

Crash points: before_append, after_append (every append of the run, its child's included), before_effect, after_effect
(every step, chunk, gate and compensation), before_lease, after_lease, before_answer and after_answer do not occur
without another process. Afterwards the sequence is dense, every effect happened once and no step completed twice.
"""

from __future__ import annotations

import os
from functools import partial

import pytest

from lakeray.workflow import events as e
from tests.commands import Started
from tests.sample_lake import finished
from tests.unit.runtime import durable_world as world

POINTS = ("before_append", "after_append", "before_effect", "after_effect", "before_lease", "after_lease")
EFFECTS = {
    "good": {"first", "each~0", "each~1", "each~2"},
    "bad": {"one", "two", "one~undo", "two~undo"},
}
MOST_PASSES = 60


def drive(folder, name, **env):
    started = Started(
        ["drive"],
        partial(world.drive, str(folder), name),
        {**os.environ, "SINK": str(folder / "sink"), **env},
        folder,
    )
    return finished(started, within_s=60).returncode


def ended(folder):
    first = next(iter(world.histories(folder).values()), [])
    return bool(first) and isinstance(first[-1], e.RunEnded)


def check(folder, name):
    histories = world.histories(folder)
    run_id = next(iter(histories))
    done = world.completions(histories[run_id])
    assert set(done.values()) == {1}, done
    effects = {path.name for path in (folder / "sink").iterdir()}
    mine = {f"{run_id}~{effect}" for effect in EFFECTS[name]}
    assert mine <= effects
    if name == "good":
        [child] = [each for each in histories if each.startswith(f"{run_id}.")]
        assert effects == {*mine, f"{child}~within"}
        assert world.completions(histories[child]) == {"within": 1}
        assert histories[run_id][-1].state == "succeeded"
    else:
        assert effects == mine
        assert histories[run_id][-1].state == "failed"


@pytest.mark.parametrize("name", ["good", "bad"])
@pytest.mark.parametrize("point", POINTS)
def test_a_run_survives_a_kill_at_every_pass(tmp_path, point, name):
    for passes in range(1, MOST_PASSES):
        folder = tmp_path / str(passes)
        world.prepare(folder)
        code = drive(folder, name, LAKERAY_FAILPOINTS=f"{point}=kill:{passes}")
        if code == 0:
            check(folder, name)
            assert passes > 1, "the failpoint was passed"
            return
        assert code == -9
        for _ in range(3):
            if not ended(folder):
                assert drive(folder, name) == 0
        check(folder, name)
    raise AssertionError("it ends")


@pytest.mark.parametrize("name", ["good", "bad"])
def test_lost_replies_of_appends_converge(tmp_path, name):
    """An append that happened and was not acknowledged is asked for again under its id, and happened once."""
    for passes in (1, 2, 5, 9):
        folder = tmp_path / str(passes)
        world.prepare(folder)
        assert drive(folder, name, LAKERAY_FAILPOINTS=f"after_append=error:{passes}") == 0
        check(folder, name)
        assert len([run for run in world.histories(folder) if "." not in run]) == 1
