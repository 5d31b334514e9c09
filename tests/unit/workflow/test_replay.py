"""A check by replay says where today's engine decides otherwise than a history has it, and nothing where it does not.

That it says nothing about what this engine wrote, the simulation asks of every history; that old histories stay as they
are, ``tests/golden``.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from lakeray.workflow import events as e
from lakeray.workflow.replay import Difference, replay_check
from tests.unit.workflow.engine_run import NO_WAIT, START, Run, workflow


@pytest.fixture
def history():
    run = Run(workflow(a={"retry": NO_WAIT}, b={"after": ("a",)}, c={"after": ("b",)}))
    run.at = 1.0
    run.fail("a")
    run.at = 2.0
    run.ok("a")
    run.at = 3.0
    run.ok("b")
    run.at = 4.0
    run.ok("c")
    return run.history


def test_a_history_of_this_engine_has_no_differences(history):
    assert replay_check(history) == []


def test_an_event_that_is_said_otherwise_today_is_a_difference(history):
    place, scheduled = next(
        (n, event) for n, event in enumerate(history) if n > 3 and isinstance(event, e.StepScheduled)
    )
    history[place] = msgspec.structs.replace(scheduled, key="another")
    assert replay_check(history) == [Difference(sequence=place + 1, written=history[place], today=scheduled)]


def test_an_event_that_would_be_missing_today_is_a_difference(history):
    extra = e.StepSkipped(at=history[-2].at, step="c", because="b")
    found = replay_check([*history[:-1], extra, history[-1]])
    assert [(each.sequence, each.written) for each in found] == [(len(history), extra)]


def test_an_event_that_would_come_today_is_a_difference(history):
    found = replay_check(history[:-1])
    assert [(each.sequence, each.written, each.today) for each in found] == [(len(history), None, history[-1])]


def test_the_check_goes_on_behind_a_difference(history):
    keyed = [
        msgspec.structs.replace(x, key="k") if isinstance(x, e.StepScheduled) and x.step != "a" else x for x in history
    ]
    assert [each.written.step for each in replay_check(keyed)] == ["b", "c"]


def test_another_rule_for_intervals_shows(history, monkeypatch):
    monkeypatch.setattr("lakeray.workflow.retry.interval_s", lambda *_: 9.0)
    found = replay_check(history)
    assert [(type(each.written), each.written.step) for each in found] == [(e.StepScheduled, "a")]
    assert found[0].today.not_before - found[0].written.not_before == timedelta(seconds=9)


def test_what_is_no_history_is_refused():
    with pytest.raises(ValueError, match="begins with RunAccepted"):
        replay_check([e.RunPaused(at=START)])
