"""What people ask of a run happens, happens once, and is refused with a reason where it cannot be done."""

from __future__ import annotations

import pytest

from lakeray.workflow import commands as c
from lakeray.workflow import definition as d
from lakeray.workflow.fork import fork
from lakeray.workflow.refusal import Refused
from tests.unit.workflow.engine_run import NO_WAIT, Run, workflow

ONCE = d.RetryPlan(maximum_attempts=1)


@pytest.fixture
def run():
    return Run(workflow(a={}, b={"after": ("a",)}))


def test_a_paused_run_begins_nothing_and_what_is_at_work_goes_on(run):
    run.start("a")
    assert run.send(c.PauseRun(at=run.now, principal="ann", reason="lunch")) == ["RunPaused"]
    assert run.send(c.PauseRun(at=run.now)) == []
    assert (run.keys, run.state.phase) == (["a/1"], "paused")
    assert run.ok("a") == ["StepSucceeded"]
    assert run.todo == []
    assert run.send(c.ResumeRun(at=run.now, principal="bob")) == ["RunResumed", "StepScheduled"]
    assert run.state.also_started_by == ("bob",)


def test_work_that_was_not_begun_when_the_pause_came_may_not_begin(run):
    run.send(c.PauseRun(at=run.now))
    assert run.todo == []
    assert run.start("a") == []


def test_what_became_due_in_a_pause_happens_when_it_is_over():
    run = Run(workflow(w={"kind": "wait", "body": {"for": 5.0}}))
    run.send(c.PauseRun(at=run.now))
    assert run.passes(60.0) == []
    assert run.send(c.ResumeRun(at=run.now)) == ["RunResumed", "StepSucceeded", "RunEnded"]


def test_nothing_begins_beside_a_failure_that_shows_when_a_pause_is_over():
    body = {"over": [1], "python": {"function": "m:f"}}
    run = Run(workflow(m={"kind": "map", "body": body, "retry": ONCE}, a={}, b={"after": ("a",)}))
    run.start("a")
    run.start("m", chunk=0)
    run.send(c.PauseRun(at=run.now))
    run.ok("a")
    run.fail("m", chunk=0)
    assert run.send(c.ResumeRun(at=run.now)) == ["RunResumed", "StepFailed", "StepSkipped", "RunEnded"]


def test_a_cancelled_run_stops_what_is_at_work_and_begins_nothing_more(run):
    run.start("a")
    assert run.send(c.CancelRun(at=run.now, principal="ann")) == ["CancelRequested", "StepCancelled"]
    assert run.send(c.CancelRun(at=run.now)) == []
    assert run.keys == ["a/1/stop"]
    assert run.stopped("a") == ["StepCancelled", "RunEnded"]
    assert (run.state.ended, run.statuses) == ("cancelled", {"a": "cancelled", "b": "cancelled"})
    assert run.send(c.CancelRun(at=run.now)) == []


def test_a_paused_run_can_be_cancelled(run):
    run.send(c.PauseRun(at=run.now))
    run.send(c.CancelRun(at=run.now))
    assert run.stopped("a", begun=False) == ["StepCancelled", "RunEnded"]


def test_a_failure_of_work_that_was_asked_to_stop_is_its_end(run):
    run.start("a")
    run.send(c.CancelRun(at=run.now))
    assert run.fail("a") == ["AttemptFailed", "StepCancelled", "RunEnded"]
    assert run.state.ended == "cancelled"


def test_a_terminated_run_is_over_at_once(run):
    run.start("a")
    assert run.send(c.TerminateRun(at=run.now)) == ["RunTerminated"]
    assert (run.state.ended, run.todo, run.ok("a")) == ("terminated", [], [])
    assert run.send(c.TerminateRun(at=run.now)) == []


def test_a_worker_that_stops_unasked_has_not_ended_the_step(run):
    run.start("a")
    assert run.stopped("a") == []


@pytest.mark.parametrize("wish", [c.PauseRun, c.ResumeRun, c.CancelRun, c.TerminateRun])
def test_a_run_that_is_over_takes_no_wishes(run, wish):
    run.ok("a")
    run.ok("b")
    with pytest.raises(Refused, match="run r has succeeded") as refused:
        run.send(wish(at=run.now))
    assert refused.value.hint


def test_what_does_not_fit_is_refused_with_the_reason(run):
    with pytest.raises(Refused, match="not paused"):
        run.send(c.ResumeRun(at=run.now))
    with pytest.raises(Refused, match="not over"):
        run.send(c.RetryRun(at=run.now))
    run.start("a")
    run.send(c.CancelRun(at=run.now))
    with pytest.raises(Refused, match="coming to its end"):
        run.send(c.PauseRun(at=run.now))


def test_a_retry_goes_on_from_the_step_that_failed():
    run = Run(workflow(a={}, b={"after": ("a",), "retry": ONCE}, c={"after": ("b",)}))
    run.ok("a", 1)
    run.fail("b")
    assert run.state.ended == "failed"
    assert run.send(c.RetryRun(at=run.now, principal="bob")) == ["RetryRequested", "StepScheduled"]
    assert (run.keys, run.statuses["a"], run.state.ended) == (["b/2"], "succeeded", None)
    run.ok("b")
    assert run.ok("c") == ["StepSucceeded", "RunEnded"]
    assert (run.state.ended, run.state.also_started_by) == ("succeeded", ("bob",))


def test_a_retry_has_all_its_attempts_again():
    run = Run(workflow(a={"retry": d.RetryPlan(maximum_attempts=2, initial_interval_s=0.0)}))
    run.fail("a")
    run.fail("a")
    run.send(c.RetryRun(at=run.now))
    assert run.keys == ["a/3"]
    assert run.fail("a") == ["AttemptFailed", "StepScheduled"]
    assert run.fail("a") == ["AttemptFailed", "StepFailed", "RunEnded"]


def test_a_retry_from_a_step_repeats_all_behind_it(run):
    run.ok("a")
    run.ok("b")
    with pytest.raises(Refused, match="every step of run r succeeded"):
        run.send(c.RetryRun(at=run.now))
    with pytest.raises(Refused, match="no step 'x'"):
        run.send(c.RetryRun(at=run.now, from_step="x"))
    run.send(c.RetryRun(at=run.now, from_step="a"))
    assert run.statuses == {"a": "scheduled", "b": "pending"}


def test_a_terminated_run_can_go_on_and_its_old_workers_do_not_count():
    run = Run(workflow(a={"retry": NO_WAIT}))
    run.start("a")
    run.send(c.TerminateRun(at=run.now))
    run.send(c.RetryRun(at=run.now))
    assert run.ok("a", attempt=1) == []
    assert run.ok("a") == ["StepSucceeded", "RunEnded"]


def test_a_fork_takes_over_what_does_not_depend_on_its_step(run):
    run = Run(workflow(a={}, b={"after": ("a",)}, c={"after": ("b",)}, x={}))
    run.ok("a", 1)
    run.ok("b", 2)
    run.ok("x", 9)
    newer = workflow(
        a={}, b={"after": ("a",), "body": {"function": "m:better"}}, c={"after": ("b",)}, x={"after": ("b",)}
    )
    taken = fork(run.state, "b", newer)
    assert {name: kept.output for name, kept in taken.kept.items()} == {"a": 1}
    other = Run(newer, forked_from=taken)
    assert (other.keys, other.state.outputs) == (["b/1"], {"a": 1})
    assert {name: kept.output for name, kept in fork(run.state, "c").kept.items()} == {"a": 1, "b": 2, "x": 9}


def test_a_fork_does_not_take_over_a_step_of_another_kind(run):
    run.ok("a")
    newer = workflow(a={"kind": "wait", "body": {"for": 1.0}}, b={"after": ("a",)})
    assert fork(run.state, "b", newer).kept == {}
    with pytest.raises(Refused, match="no step 'z'"):
        fork(run.state, "z")


def test_every_command_travels_as_bytes(run):
    for command in (c.PauseRun(at=run.now), c.RetryRun(at=run.now, from_step="a"), c.TimePassed(at=run.now)):
        assert c.decode_command(c.encode_command(command)) == command
    with pytest.raises(ValueError, match="no command"):
        c.decode_command(b"{}")
