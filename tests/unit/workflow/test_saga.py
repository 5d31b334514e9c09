"""When a run does not succeed, what its steps did is undone: the last first, one at a time, tried again on its own."""

from __future__ import annotations

import pytest

from lakeray.workflow import commands as c
from lakeray.workflow import definition as d
from lakeray.workflow import events as e
from lakeray.workflow import todo as t
from tests.unit.workflow.engine_run import Run, workflow

ERROR = e.Failure(code="flaky", message="not now")
ONCE = d.RetryPlan(maximum_attempts=1)
UNDO = {"compensate": "withdraw", "compensate_retry": d.RetryPlan(maximum_attempts=2, initial_interval_s=5.0)}


def failed_run() -> Run:
    """b, then a, then c succeeded; d failed for good."""
    run = Run(workflow(a=UNDO, b=UNDO, c={"after": ("a", "b")}, d={"after": ("c",), "retry": ONCE}))
    run.ok("b", {"rows": 2})
    run.ok("a", {"rows": 1})
    run.ok("c")
    run.fail("d")
    return run


def test_the_last_that_ended_is_undone_first():
    run = failed_run()
    assert (run.keys, run.state.phase) == (["a/undo-1"], "compensating")
    work = run.todo[0]
    assert isinstance(work, t.Compensate)
    assert (work.output, work.idempotency_key) == ({"rows": 1}, "r/a/undo")
    assert run.undo("a") == ["CompensationSucceeded", "CompensationScheduled"]
    assert run.keys == ["b/undo-1"]
    assert run.undo("b") == ["CompensationSucceeded", "RunEnded"]
    assert run.statuses == {"a": "compensated", "b": "compensated", "c": "succeeded", "d": "failed"}
    assert run.state.ended == "failed"


def test_an_undo_has_retries_of_its_own_and_what_cannot_be_undone_is_said():
    run = failed_run()
    assert run.undo("a", ERROR) == ["CompensationFailed", "CompensationScheduled"]
    assert (run.todo, run.wake_s) == ([], 5.0)
    run.passes(5.0)
    assert run.undo("a", ERROR) == ["CompensationFailed", "StepDeadLettered", "CompensationScheduled"]
    assert run.keys == ["b/undo-1"], "others are undone still"
    run.undo("b")
    assert (run.state.ended, run.state.uncompensated) == ("failed", ("a",))


def test_nothing_is_undone_while_something_is_at_work():
    run = Run(workflow(a=UNDO, slow={}, bad={"after": ("a",), "retry": ONCE}))
    run.ok("a")
    run.start("slow")
    run.fail("bad")
    assert run.keys == ["slow/1/stop"]
    assert run.stopped("slow") == ["StepCancelled", "CompensationScheduled"]


def test_work_that_was_interrupted_is_undone_too_but_not_what_never_began():
    run = Run(workflow(a=UNDO, b=UNDO))
    run.start("a")
    run.send(c.CancelRun(at=run.now))
    run.stopped("a")
    assert run.stopped("b", begun=False) == ["StepCancelled", "CompensationScheduled"]
    work = run.todo[0]
    assert isinstance(work, t.Compensate)
    assert (work.step, work.output) == ("a", None)
    run.undo("a")
    assert run.state.ended == "cancelled"
    assert run.statuses == {"a": "compensated", "b": "cancelled"}


def test_the_failed_step_itself_is_not_undone():
    run = Run(workflow(a={**UNDO, "retry": ONCE}))
    assert run.fail("a") == ["AttemptFailed", "StepFailed", "RunEnded"]


def test_a_success_that_comes_while_the_run_stops_counts_and_is_undone():
    run = Run(workflow(a=UNDO, bad={"retry": ONCE}))
    run.start("a")
    run.fail("bad")
    assert run.ok("a") == ["StepSucceeded", "CompensationScheduled"]


def test_a_run_that_succeeded_undoes_nothing_whatever_was_tolerated():
    run = Run(workflow(a=UNDO, bad={"retry": ONCE, "on_failure": "continue"}))
    run.ok("a")
    run.fail("bad")
    assert (run.state.ended, run.statuses["a"]) == ("succeeded", "succeeded")


def test_an_undo_that_takes_too_long_is_tried_again():
    limits = d.TimeoutPlan(start_to_close_s=10.0)
    run = Run(workflow(a={**UNDO, "timeouts": limits}, bad={"after": ("a",), "retry": ONCE}))
    run.ok("a")
    run.fail("bad")
    run.send(c.ReportStarted(at=run.now, step="a", attempt=1, compensation=True))
    assert run.passes(10.0) == ["CompensationFailed", "CompensationScheduled"]


@pytest.mark.parametrize("undone", [True, False], ids=["undone", "perhaps undone"])
def test_effects_that_were_undone_are_made_again_under_another_key(undone):
    run = Run(workflow(a={**UNDO, "compensate_retry": ONCE}, bad={"after": ("a",), "retry": ONCE}))
    run.ok("a")
    run.fail("bad")
    run.undo("a", None if undone else ERROR)
    run.send(c.RetryRun(at=run.now))
    work = run.todo[0]
    assert isinstance(work, t.RunAttempt)
    assert (work.key, work.idempotency_key) == ("r/a/2", "r/a/1")


def test_steps_of_the_run_that_was_forked_are_not_undone_by_the_fork():
    plan = workflow(a=UNDO, bad={"after": ("a",), "retry": ONCE})
    run = Run(plan, forked_from=e.ForkedFrom(run_id="r0", step="bad", kept={"a": e.Kept(output=1)}))
    assert run.keys == ["bad/1"]
    assert run.fail("bad") == ["AttemptFailed", "StepFailed", "RunEnded"]


def test_an_undo_that_kills_its_workers_is_a_dead_letter():
    plan = {**UNDO, "compensate_retry": d.RetryPlan(maximum_attempts=9, maximum_worker_deaths=1)}
    run = Run(workflow(a=plan, bad={"after": ("a",), "retry": ONCE}))
    run.ok("a")
    run.fail("bad")
    died = c.ReportFailure(at=run.now, step="a", attempt=1, compensation=True, error=ERROR, cause="worker_died")
    assert run.send(died) == ["CompensationFailed", "StepDeadLettered", "RunEnded"]


def test_an_undo_that_a_termination_cut_off_is_said_and_its_step_is_repeated():
    run = Run(workflow(a=UNDO, bad={"after": ("a",), "retry": ONCE}))
    run.ok("a")
    run.fail("bad")
    run.send(c.TerminateRun(at=run.now))
    assert (run.state.ended, run.state.uncompensated, run.statuses["a"]) == ("terminated", ("a",), "succeeded")
    run.send(c.RetryRun(at=run.now))
    assert run.keys == ["a/2"]
