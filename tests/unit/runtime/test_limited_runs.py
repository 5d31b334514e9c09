"""Pools, keys and breakers as a person meets them in runs of a file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.errors import SpecError
from lakeray.workflow.refusal import Refused
from tests.polling import eventually

HERE = "tests.unit.runtime.test_limited_runs"
WITHIN_S = 60
AT_WORK: list[str] = []
MOST = [0]
GO = threading.Event()
DOWN: list[str] = []


def busy(context):
    AT_WORK.append(context.step)
    MOST[0] = max(MOST[0], len(AT_WORK))
    GO.wait(WITHIN_S)
    AT_WORK.remove(context.step)


def busy_item(item, context):
    busy(context)
    return item


def partner():
    if DOWN:
        raise OSError(DOWN.pop())
    return "delivered"


@pytest.fixture(autouse=True)
def idle():
    AT_WORK.clear()
    DOWN.clear()
    MOST[0] = 0
    GO.clear()
    yield
    GO.set()


def connect(folder: Path):
    settings = Settings(executor="inline", catalog=str(folder / "catalog"), state=f"sqlite:///{folder}/state.db")
    return lakeray.connect(settings=settings)


def write(folder: Path, text: str, name: str = "w.yaml") -> Path:
    path = folder / name
    path.write_text(text.replace("HERE", HERE))
    return path


def test_steps_share_a_pool_and_those_that_wait_say_so(tmp_path):
    steps = "".join(f'  s{n}: {{python: "HERE:busy", queue: {{pool: db, priority: {n}}}}}\n' for n in range(3))
    lake = connect(tmp_path)
    run = lake.run(write(tmp_path, f"workflow: w\npools: {{db: 1}}\nsteps:\n{steps}"))
    eventually(lambda: len(lake.pools.list()[0].waiting) == 2, WITHIN_S)
    [pool] = lake.pools.list()
    assert (pool.name, pool.slots, pool.taken, len(pool.held)) == ("db", 1, 1, 1)
    assert [line.priority for line in pool.waiting] == sorted((line.priority for line in pool.waiting), reverse=True)
    assert any("waits for 1 of 1 slots of the pool db" in note for note in lake.runs.show(run.run_id).notes)
    lake.pools.resize("db", 2)
    eventually(lambda: len(AT_WORK) == 2, WITHIN_S)
    GO.set()
    assert run.result(WITHIN_S).state == "succeeded"
    assert MOST[0] == 2
    assert [(line.taken, line.waiting) for line in lake.pools.list()] == [(0, [])]
    with pytest.raises(Refused, match="no run of tenant default has named"):
        lake.pools.resize("lake", 2)


def test_chunks_of_a_map_share_a_key_with_other_runs(tmp_path):
    chunk = '{over: [1, 2, 3], python: "HERE:busy_item", chunk: 1}'
    step = f"  s: {{map: {chunk}, queue: {{key: orders, limit: 2}}}}\n"
    lake = connect(tmp_path)
    runs = [lake.run(write(tmp_path, f"workflow: {name}\nsteps:\n{step}", f"{name}.yaml")) for name in ("a", "b")]
    eventually(lambda: len(AT_WORK) == 2 and len(lake.pools.list()[0].waiting) == 4, WITHIN_S)
    GO.set()
    assert [run.result(WITHIN_S).state for run in runs] == ["succeeded"] * 2
    assert MOST[0] == 2


def test_a_step_between_attempts_holds_no_slot(tmp_path):
    DOWN.append("down")
    steps = (
        '  a: {python: "HERE:partner", queue: {pool: db, priority: 1}, retry: {initial_interval: 1h}}\n'
        '  b: {python: "HERE:partner", queue: {pool: db}}\n'
    )
    lake = connect(tmp_path)
    run = lake.run(write(tmp_path, f"workflow: w\npools: {{db: 1}}\nsteps:\n{steps}"))
    eventually(lambda: run.summary.steps[1].state == "succeeded", WITHIN_S)
    assert run.summary.steps[0].attempts == 2, "the second is an hour away"
    run.cancel()
    run.result(WITHIN_S)


def test_a_step_that_waits_too_long_for_a_slot_fails_and_leaves_the_line(tmp_path):
    lake = connect(tmp_path)
    first = lake.run(write(tmp_path, 'workflow: a\nsteps:\n  s: {python: "HERE:busy", queue: {key: k}}\n', "a.yaml"))
    eventually(lambda: AT_WORK, WITHIN_S)
    late = 'workflow: b\nsteps:\n  s: {python: "HERE:busy", queue: {key: k}, timeouts: {schedule_to_start: 300ms}}\n'
    done = lake.run(write(tmp_path, late, "b.yaml")).result(WITHIN_S)
    assert [error.code for error in done.errors] == ["timeout_schedule_to_start"]
    eventually(lambda: not lake.pools.list()[0].waiting, WITHIN_S)
    GO.set()
    assert first.result(WITHIN_S).state == "succeeded"


def test_a_run_that_is_cancelled_in_the_line_leaves_it(tmp_path):
    lake = connect(tmp_path)
    texts = {name: f'workflow: {name}\nsteps:\n  s: {{python: "HERE:busy", queue: {{key: k}}}}\n' for name in "ab"}
    first = lake.run(write(tmp_path, texts["a"], "a.yaml"))
    eventually(lambda: AT_WORK, WITHIN_S)
    second = lake.run(write(tmp_path, texts["b"], "b.yaml"))
    eventually(lambda: lake.pools.list()[0].waiting, WITHIN_S)
    lake.runs.cancel(second.run_id)
    assert second.result(WITHIN_S).state == "cancelled"
    eventually(lambda: not lake.pools.list()[0].waiting, WITHIN_S)
    GO.set()
    assert first.result(WITHIN_S).state == "succeeded"


def test_an_open_breaker_puts_a_step_off_rather_than_failing_it(tmp_path):
    """Three attempts, of which two fail: the third waits until the breaker lets one try."""
    DOWN.extend(["down", "down"])
    breaker = "breaker: {dependency: partner, failures: 2, open_for: 300ms}"
    text = f'workflow: w\nsteps:\n  s: {{python: "HERE:partner", {breaker}, retry: {{initial_interval: 0s}}}}\n'
    lake = connect(tmp_path)
    done = lake.run(write(tmp_path, text)).result(WITHIN_S)
    assert (done.state, done.steps[0].attempts) == ("succeeded", 3)
    assert any("the circuit breaker partner is open since" in note for note in done.notes)
    assert any("put off until" in note for note in lake.runs.show(done.run_id).notes)
    assert [(line.dependency, line.state) for line in lake.breakers.list()] == [("partner", "closed")]
    DOWN.extend(["down"] * 2)
    text = text.replace("300ms", "1h").replace("workflow: w", "workflow: x")
    run = lake.run(write(tmp_path, text, "x.yaml"))
    eventually(lambda: [line.state for line in lake.breakers.list()] == ["open"], WITHIN_S)
    lake.breakers.reset("partner")
    assert lake.breakers.list() == []
    run.cancel()
    assert run.result(WITHIN_S).state == "cancelled"


def test_a_step_that_starts_runs_has_no_queue(tmp_path):
    write(tmp_path, 'workflow: o\nsteps:\n  s: {python: "HERE:partner"}\n', "o.yaml")
    with pytest.raises(SpecError, match="give it to the steps of the other file"):
        connect(tmp_path).run(write(tmp_path, "workflow: w\nsteps:\n  s: {workflow: o.yaml, queue: {key: k}}\n"))
