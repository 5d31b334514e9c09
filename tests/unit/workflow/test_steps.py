"""Steps run in the order of their graph, each attempt counts once, and a failure does what the step's plan says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lakeray.workflow import commands as c
from lakeray.workflow import definition as d
from lakeray.workflow import events as e
from lakeray.workflow import todo as t
from lakeray.workflow.decide import decide
from lakeray.workflow.refusal import Refused
from tests.unit.workflow.engine_run import NO_WAIT, START, Run, workflow


def test_a_step_begins_when_all_before_it_succeeded():
    run = Run(workflow(a={}, b={}, c={"after": ("a", "b")}))
    assert run.first == ["RunAccepted", "StepScheduled", "StepScheduled"]
    assert run.keys == ["a/1", "b/1"]
    assert run.ok("a") == ["StepSucceeded"]
    assert run.keys == ["b/1"]
    assert run.ok("b") == ["StepSucceeded", "StepScheduled"]
    assert run.ok("c", {"rows": 3}) == ["StepSucceeded", "RunEnded"]
    assert (run.state.ended, run.state.outputs["c"], run.todo, run.wake_s) == ("succeeded", {"rows": 3}, [], None)


def test_a_run_is_accepted_once():
    run = Run(workflow(a={}))
    accept = c.AcceptRun(at=run.now, run_id="r", definition=workflow(b={}))
    assert run.send(accept) == []


def test_a_command_without_its_run_is_refused():
    with pytest.raises(Refused, match="no such run"):
        decide(None, c.TimePassed(at=START))


def test_a_report_that_comes_twice_or_late_changes_nothing():
    run = Run(workflow(a={"retry": NO_WAIT}, b={"after": ("a",)}))
    run.fail("a")
    assert run.step("a").tries.attempt == 2
    assert run.ok("a", attempt=1) == []
    assert run.fail("a", attempt=1) == []
    assert run.ok("a") == ["StepSucceeded", "StepScheduled"]
    assert run.ok("a", "other") == []
    assert run.step("a").output is None
    assert run.send(c.ReportSuccess(at=run.now, step="nowhere", attempt=1)) == []


def test_the_next_attempt_waits_for_its_interval():
    run = Run(workflow(a={"retry": d.RetryPlan(initial_interval_s=2.0, backoff_coefficient=3.0)}))
    assert run.fail("a") == ["AttemptFailed", "StepScheduled"]
    assert (run.todo, run.wake_s) == ([], 2.0)
    assert run.start("a") == [], "begun before it is due"
    run.passes(2.0)
    assert run.keys == ["a/2"]
    run.fail("a")
    assert run.wake_s == 8.0
    run.at = 8.0
    assert run.fail("a") == ["AttemptFailed", "StepFailed", "RunEnded"]


def test_every_attempt_has_the_same_idempotency_key_and_the_last_details():
    run = Run(workflow(a={"retry": NO_WAIT}))
    run.start("a")
    assert run.beat("a", {"row": 7}) == ["StepHeartbeat"]
    first = run.todo[0]
    run.fail("a")
    second = run.todo[0]
    assert isinstance(first, t.RunAttempt)
    assert isinstance(second, t.RunAttempt)
    assert first.idempotency_key == second.idempotency_key == "r/a"
    assert (first.key, second.key) == ("r/a/1", "r/a/2")
    assert (first.begun, second.begun, second.details) == (True, False, {"row": 7})


@pytest.mark.parametrize(
    ("code", "retryable"), [("access_denied", True), ("read", False)], ids=["listed", "says so itself"]
)
def test_an_error_that_a_retry_cannot_help_ends_the_step(code, retryable):
    run = Run(workflow(a={"retry": d.RetryPlan(non_retryable_error_types=("access_denied",))}))
    assert run.fail("a", code, retryable=retryable) == ["AttemptFailed", "StepFailed", "RunEnded"]
    assert run.step("a").error.code == code


def test_work_that_kills_its_workers_is_a_dead_letter_and_what_comes_behind_moves_on():
    poison = {"retry": d.RetryPlan(maximum_attempts=9, maximum_worker_deaths=2, initial_interval_s=0.0)}
    run = Run(workflow(a={**poison, "on_failure": "continue"}, b={"after": ("a",)}))
    run.fail("a", cause="worker_died")
    run.fail("a")
    assert run.fail("a", cause="worker_died") == ["AttemptFailed", "StepDeadLettered", "StepScheduled"]
    assert (run.statuses["a"], run.of(e.StepDeadLettered)[0].deaths) == ("dead_lettered", 2)
    run.ok("b")
    assert (run.state.ended, run.state.tolerated) == ("succeeded", ("a",))


def test_at_most_once_is_at_most_once_even_when_the_worker_dies():
    run = Run(workflow(a={"retry": d.RetryPlan(maximum_attempts=1)}))
    assert run.fail("a", cause="worker_died") == ["AttemptFailed", "StepFailed", "RunEnded"]


@pytest.mark.parametrize(
    ("mode", "statuses", "ended"),
    [
        ("fail", {"a": "failed", "b": "skipped", "c": "skipped", "d": "cancelled"}, "failed"),
        ("skip_dependents", {"a": "failed", "b": "skipped", "c": "skipped", "d": "succeeded"}, "succeeded"),
        ("continue", {"a": "failed", "b": "succeeded", "c": "succeeded", "d": "succeeded"}, "succeeded"),
    ],
)
def test_a_failed_step_does_to_the_others_what_its_plan_says(mode, statuses, ended):
    once = d.RetryPlan(maximum_attempts=1)
    run = Run(workflow(a={"retry": once, "on_failure": mode}, b={"after": ("a",)}, c={"after": ("b",)}, d={}))
    run.fail("a")
    if mode == "fail":
        assert run.keys == ["d/1/stop"], "what is at work is asked to stop"
        run.stopped("d")
    for name in "bcd":
        if run.state.ended is None and run.step(name).status == "scheduled":
            run.ok(name)
    assert run.statuses == statuses
    assert (run.state.ended, run.state.tolerated) == (ended, () if mode == "fail" else ("a",))


def test_putting_off_costs_no_attempt():
    run = Run(workflow(a={"retry": d.RetryPlan(maximum_attempts=1)}))
    until = run.now + timedelta(seconds=30)
    assert run.send(c.DeferAttempt(at=run.now, step="a", attempt=1, until=until, reason="circuit open")) == [
        "StepScheduled"
    ]
    assert (run.todo, run.wake_s) == ([], 30.0)
    run.passes(30.0)
    assert run.keys == ["a/1"]


def test_a_sign_of_life_is_an_event_only_when_it_says_something():
    run = Run(workflow(a={"timeouts": d.TimeoutPlan(heartbeat_s=30.0)}))
    run.start("a")
    assert run.beat("a", 1) == ["StepHeartbeat"]
    run.at = 5.0
    assert run.beat("a", 1) == []
    assert run.beat("a") == []
    assert run.beat("a", 2) == ["StepHeartbeat"]
    run.at = 15.0
    assert run.beat("a") == ["StepHeartbeat"], "a third of the timeout is over"
    assert run.step("a").tries.details == 2
    assert run.wake_s == 45.0


@pytest.mark.parametrize("verdict", ["false", "unknown"])
def test_a_step_whose_precondition_does_not_hold_fails_without_an_attempt(verdict):
    run = Run(workflow(a={"requires": {"python": "m:f"}}))
    assert run.keys == ["a/0/requires"]
    judged = c.ReportCondition(at=run.now, step="a", side="requires", attempt=0, verdict=verdict, evidence=["seen"])
    assert run.send(judged) == ["ConditionJudged", "StepFailed", "RunEnded"]
    assert (run.step("a").error.code, run.of(e.ConditionJudged)[0].evidence) == ("precondition_failed", ["seen"])


def test_a_precondition_that_holds_is_judged_once():
    run = Run(workflow(a={"requires": {"python": "m:f"}}))
    judged = c.ReportCondition(at=run.now, step="a", side="requires", attempt=0, verdict="true")
    assert run.send(judged) == ["ConditionJudged", "StepScheduled"]
    assert run.send(judged) == []
    assert run.keys == ["a/1"]


def test_a_postcondition_that_does_not_hold_fails_the_attempt():
    run = Run(workflow(a={"ensures": {"python": "m:f"}, "retry": NO_WAIT}))
    assert run.ok("a", {"rows": 1}) == ["StepReturned"]
    work = run.todo[0]
    assert isinstance(work, t.JudgeCondition)
    assert (work.side, work.output) == ("ensures", {"rows": 1})
    no = c.ReportCondition(at=run.now, step="a", side="ensures", attempt=1, verdict="false")
    assert run.send(no) == ["ConditionJudged", "AttemptFailed", "StepScheduled"]
    assert run.step("a").output is None
    run.ok("a", {"rows": 2})
    assert run.send(no) == [], "a verdict on an earlier attempt"
    yes = c.ReportCondition(at=run.now, step="a", side="ensures", attempt=2, verdict="true")
    assert run.send(yes) == ["ConditionJudged", "StepSucceeded", "RunEnded"]
    assert run.step("a").output == {"rows": 2}


def test_time_never_goes_back_in_a_history():
    run = Run(workflow(a={}, b={"after": ("a",)}))
    run.at = 100.0
    run.ok("a")
    run.at = 50.0
    run.ok("b")
    times = [event.at for event in run.history]
    assert times == sorted(times)
    assert run.state.ended_at == START + timedelta(seconds=100)
