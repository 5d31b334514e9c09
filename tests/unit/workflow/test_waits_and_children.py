"""A run that waits for time, an event or another run has nothing to do, and goes on at the first word of it."""

from __future__ import annotations

import pytest

from lakeray.workflow import commands as c
from lakeray.workflow import definition as d
from lakeray.workflow import events as e
from lakeray.workflow import todo as t
from lakeray.workflow.refusal import Refused
from tests.unit.workflow.engine_run import NO_WAIT, Run, workflow


def wait(**body) -> dict:
    return {"kind": "wait", "body": body}


def test_a_wait_for_a_time_is_over_then():
    run = Run(workflow(w=wait(**{"for": 60.0}), a={"after": ("w",)}))
    assert (run.first, run.todo, run.wake_s, run.state.phase) == (["RunAccepted", "WaitStarted"], [], 60.0, "waiting")
    assert run.passes(59.0) == []
    assert run.passes(1.0) == ["StepSucceeded", "StepScheduled"]


@pytest.mark.parametrize("until", ["2024-01-01T00:01:00Z", "2024-01-01T00:01:00", "2024-01-01T02:01:00+02:00"])
def test_a_wait_until_an_instant_is_over_then_in_any_zone(until):
    run = Run(workflow(w=wait(until=until)))
    assert run.wake_s == 60.0


def test_a_wait_until_an_instant_that_is_past_is_over_at_once():
    run = Run(workflow(w=wait(until="2020-01-01")))
    assert run.passes(0.0) == ["StepSucceeded", "RunEnded"]


def test_an_event_ends_every_wait_for_it_also_one_that_begins_later():
    run = Run(
        workflow(w=wait(event="go"), v=wait(event="go"), a={"after": ("w",)}, z={**wait(event="go"), "after": ("a",)})
    )
    go = c.SendEvent(at=run.now, name="go", data={"n": 1})
    assert run.send(go) == ["EventReceived", "StepSucceeded", "StepSucceeded", "StepScheduled"]
    assert run.step("w").output == {"n": 1}
    assert run.ok("a") == ["StepSucceeded", "WaitStarted", "StepSucceeded", "RunEnded"]


def test_an_event_of_another_name_changes_nothing_for_the_wait():
    run = Run(workflow(w=wait(event="go")))
    assert run.send(c.SendEvent(at=run.now, name="stop")) == ["EventReceived"]


def test_an_event_that_does_not_come_in_time_is_a_failure():
    run = Run(workflow(w=wait(event="go", timeout=60.0)))
    assert run.passes(60.0) == ["StepFailed", "RunEnded"]
    assert run.step("w").error.code == "wait_timeout"
    with pytest.raises(Refused):
        run.send(c.SendEvent(at=run.now, name="go"))


def child_run(**said) -> Run:
    inner = workflow(x={})
    return Run(workflow(n={"kind": "workflow", "body": {"file": "x.yaml"}, "child": inner, "retry": NO_WAIT, **said}))


def started(run: Run) -> list[str]:
    work = run.todo[0]
    assert isinstance(work, t.StartChild)
    return run.send(
        c.ReportChildStarted(at=run.now, step="n", attempt=work.attempt, chunk=work.chunk, child=work.child)
    )


def ended(run: Run, child: str, state: e.Ending = "succeeded", **said) -> list[str]:
    return run.send(c.ReportChildEnded(at=run.now, step="n", child=child, state=state, **said))


def test_a_child_is_started_once_and_waited_for_with_nothing_to_do():
    run = child_run()
    work = run.todo[0]
    assert (work.child, work.definition.steps.keys()) == ("r.n.1", {"x"})
    assert started(run) == ["ChildStarted"]
    assert (run.todo, run.state.phase, run.state.children) == ([], "waiting", ["r.n.1"])
    assert ended(run, "r.n.1", output={"x": 1}) == ["StepSucceeded", "RunEnded"]
    assert run.state.outputs == {"n": {"x": 1}}


def test_a_child_that_ends_before_its_start_was_told_counts():
    run = child_run()
    assert ended(run, "r.n.1") == ["StepSucceeded", "RunEnded"]


def test_an_end_that_is_told_twice_counts_once_also_before_a_postcondition():
    run = child_run(ensures={"python": "m:holds"})
    started(run)
    assert ended(run, "r.n.1", output=1) == ["StepReturned"]
    assert ended(run, "r.n.1", output=1) == []
    assert run.state.phase == "running"


def test_a_child_that_failed_is_followed_by_another_with_its_own_name():
    run = child_run()
    started(run)
    error = e.Failure(code="read", message="broken file", hint="mend it")
    assert ended(run, "r.n.1", "failed", error=error) == ["AttemptFailed", "StepScheduled"]
    assert "broken file" in run.step("n").error.message
    assert run.todo[0].child == "r.n.2"
    assert ended(run, "r.n.1") == [], "the first one is over"


@pytest.mark.parametrize("state", ["cancelled", "terminated"])
def test_a_child_that_a_person_ended_is_not_tried_again(state):
    run = child_run()
    started(run)
    assert ended(run, "r.n.1", state) == ["AttemptFailed", "StepFailed", "RunEnded"]


def test_a_run_that_is_cancelled_ends_after_its_children():
    run = child_run()
    started(run)
    assert run.send(c.CancelRun(at=run.now)) == ["CancelRequested", "StepCancelled"]
    assert (run.keys, run.wake_s) == (["r.n.1/stop"], None)
    assert ended(run, "r.n.1", "cancelled") == ["ChildEnded", "RunEnded"]


def test_a_child_that_takes_too_long_is_stopped_beside_the_next_one():
    run = child_run(timeouts=d.TimeoutPlan(start_to_close_s=10.0))
    started(run)
    assert run.passes(10.0) == ["AttemptFailed", "StepScheduled"]
    assert [type(work) for work in run.todo] == [t.StopChild, t.StartChild]
    started_again = c.ReportChildStarted(at=run.now, step="n", attempt=2, child="r.n.2")
    run.send(started_again)
    assert ended(run, "r.n.2") == ["StepSucceeded"]
    assert run.state.ended is None, "the first one is still at it"
    assert ended(run, "r.n.1", "cancelled") == ["ChildEnded", "RunEnded"]


def test_whoever_terminates_a_run_is_told_its_children():
    run = child_run()
    started(run)
    run.send(c.TerminateRun(at=run.now))
    assert (run.todo, run.state.children) == ([], ["r.n.1"])
