"""Work that kills its worker again and again is put aside, what queues behind it goes on, a person may redrive it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.workflow.refusal import Refused
from tests.commands import lakeray as command
from tests.polling import eventually
from tests.sample_lake import finished

HERE = "tests.unit.runtime.test_dead_letters"
WITHIN_S = 60
POISON = f"""
workflow: poison
pools: {{db: 1}}
steps:
  bad:
    python: "{HERE}:poison"
    queue: {{pool: db}}
    retry: {{initial_interval: 0s, maximum_worker_deaths: 2}}
    on_failure: skip_dependents
  after: {{after: [bad], python: "{HERE}:fine"}}
  beside: {{python: "{HERE}:fine", queue: {{pool: db, priority: -5}}}}
"""
UNDONE = f"""
workflow: undone
steps:
  one: {{python: "{HERE}:fine", compensate: "{HERE}:fail", compensate_retry: {{maximum_attempts: 1}}}}
  two: {{after: [one], python: "{HERE}:fail", retry: {{maximum_attempts: 1}}}}
"""
MAP = f"""
workflow: mapped
steps:
  each: {{map: {{over: [1, 2, 3], python: "{HERE}:two_is_bad", chunk: 1}}, retry: {{maximum_attempts: 1}}}}
"""


def poison():
    if not Path(os.environ["MENDED"]).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return "mended"


def fine():
    return "fine"


def fail():
    raise OSError("no")


def two_is_bad(item):
    if item == 2:
        raise OSError("no")


def connect(folder):
    settings = Settings(executor="inline", catalog=str(folder / "catalog"), state=f"sqlite:///{folder}/state.db")
    return lakeray.connect(settings=settings)


def test_poison_goes_to_the_dead_letters_and_what_queues_behind_it_moves_on(tmp_path, monkeypatch):
    """The step takes the whole process with it twice; the third process puts it aside and does the other step."""
    monkeypatch.setenv("MENDED", str(tmp_path / "mended"))
    (tmp_path / "w.yaml").write_text(POISON)
    env = {**os.environ, "LAKERAY_STATE": f"sqlite:///{tmp_path}/state.db", "LAKERAY_EXECUTOR": "inline"}
    codes = [finished(command("run", "w.yaml", env=env, cwd=tmp_path), within_s=WITHIN_S).returncode for _ in range(3)]
    assert codes == [-9, -9, 0]
    lake = connect(tmp_path)
    [letter] = lake.deadletters.list()
    assert (letter.workflow, letter.step, letter.kind, letter.deaths) == ("poison", "bad", "step", 2)
    assert letter.error.code == "worker_died"
    steps = {step.name: step.state for step in lake.runs.show(letter.run_id).steps}
    assert steps == {"bad": "failed", "after": "skipped", "beside": "succeeded"}
    assert lake.deadletters.show(letter.run_id) == letter
    (tmp_path / "mended").touch()
    done = lake.deadletters.redrive(letter.letter).result(WITHIN_S)
    assert (done.run_id, done.state) == (letter.run_id, "succeeded")
    assert lake.deadletters.list() == []
    with pytest.raises(Refused, match="0 dead letters"):
        lake.deadletters.redrive(letter.letter)


def test_what_could_not_be_undone_is_a_letter_until_somebody_gives_it_up(tmp_path):
    (tmp_path / "w.yaml").write_text(UNDONE)
    lake = connect(tmp_path)
    done = lake.run(tmp_path / "w.yaml").result(WITHIN_S)
    [letter] = lake.deadletters.list(workflow="undone")
    assert (letter.step, letter.kind, letter.run_id) == ("one", "compensation", done.run_id)
    assert lake.deadletters.list(tenant="other") == []
    assert lake.deadletters.discard(letter.letter) == letter
    assert lake.deadletters.list() == []
    assert lake.runs.show(done.run_id).state == "failed"


def test_an_ordinary_failure_is_no_dead_letter(tmp_path):
    (tmp_path / "w.yaml").write_text(MAP)
    lake = connect(tmp_path)
    assert lake.run(tmp_path / "w.yaml").result(WITHIN_S).state == "failed"
    eventually(lambda: lake.deadletters.list() == [], 1)


def test_letters_do_not_reach_those_who_hand_messages_over(tmp_path):
    from datetime import UTC, datetime

    from lakeray.runtime.durable.embedded import open_state

    (tmp_path / "w.yaml").write_text(UNDONE)
    connect(tmp_path).run(tmp_path / "w.yaml").result(WITHIN_S)
    with open_state(f"sqlite:///{tmp_path}/state.db") as store:
        assert store.messages(0, datetime(2199, 1, 1, tzinfo=UTC), 100) == []
