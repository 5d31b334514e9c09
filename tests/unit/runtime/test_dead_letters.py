"""Work that kills its worker again and again is put aside, what queues behind it goes on, a person may redrive it."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.notices import Notification, cloud_event
from lakeray.runtime.durable.triggers.telling import KeptNotification, pending, undelivered
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
    (tmp_path / "w.yaml").write_text(UNDONE)
    connect(tmp_path).run(tmp_path / "w.yaml").result(WITHIN_S)
    with open_state(f"sqlite:///{tmp_path}/state.db") as store:
        assert store.messages(0, datetime(2199, 1, 1, tzinfo=UTC), 100) == []


def test_an_address_that_could_not_be_told_is_a_letter_until_it_is_told_again(tmp_path):
    lake, now = connect(tmp_path), datetime(2026, 11, 25, 12, tzinfo=UTC)
    event = cloud_event(
        "run.failed", event_id="run-1/7", tenant="acme", workflow="orders", subject="run-1", at=now, data={}
    )
    said = Notification(subscriber="ops", url="https://ops.example/in", secret="env:X", event=event)
    dead = KeptNotification(message_id="run-1/7/ops", said=said, due_at=now, attempts=12, why="it answered 500")
    with open_state(f"sqlite:///{tmp_path}/state.db") as store:
        undelivered(store).change(dead.message_id, lambda _: dead)
    [found] = lake.deadletters.list(tenant="acme")
    assert (found.kind, found.step, found.run_id, found.workflow) == ("webhook", "ops", "run-1", "orders")
    assert "in vain 12 times: it answered 500" in found.error.message
    with pytest.raises(Refused, match="no work of a run"):
        lake.deadletters.redrive(found.letter)
    assert lake.deadletters.retell("run-1") == found
    assert lake.deadletters.list() == []
    with open_state(f"sqlite:///{tmp_path}/state.db") as store:
        again = pending(store).get(dead.message_id)
    assert again is not None
    assert (again.said, again.attempts, again.why) == (said, 0, None)
