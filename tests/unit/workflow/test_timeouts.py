"""Each of the four timeouts ends what it is about, at its instant and not before; ``wake_at`` names that instant."""

from __future__ import annotations

import pytest

from lakeray.workflow import definition as d
from lakeray.workflow import events as e
from tests.unit.workflow.engine_run import Run, workflow


def limited(**limits: float) -> Run:
    retry = d.RetryPlan(initial_interval_s=5.0, backoff_coefficient=1.0)
    return Run(workflow(a={"timeouts": d.TimeoutPlan(**limits), "retry": retry}))


def test_an_attempt_that_takes_too_long_is_followed_by_another():
    run = limited(start_to_close_s=10.0)
    run.at = 3.0
    run.start("a")
    assert run.wake_s == 13.0
    assert run.passes(9.9) == []
    assert run.passes(0.1) == ["AttemptFailed", "StepScheduled"]
    assert (run.of(e.AttemptFailed)[0].cause, run.step("a").error.code) == ("timeout", "timeout_start_to_close")
    assert run.ok("a", attempt=1) == [], "its late success does not count"
    assert run.wake_s == 18.0


def test_an_attempt_that_gives_no_sign_of_life_is_followed_by_another():
    run = limited(heartbeat_s=10.0)
    run.start("a")
    run.at = 8.0
    run.beat("a", "row 1")
    assert run.wake_s == 18.0
    assert run.passes(9.0) == []
    assert run.passes(1.0) == ["AttemptFailed", "StepScheduled"]
    assert run.step("a").error.code == "timeout_heartbeat"


def test_a_step_that_no_worker_begins_fails_for_good():
    run = limited(schedule_to_start_s=10.0)
    assert run.wake_s == 10.0
    assert run.passes(10.0) == ["StepFailed", "RunEnded"]
    assert run.step("a").error.code == "timeout_schedule_to_start"


def test_only_the_first_attempt_has_to_begin_in_time():
    run = limited(schedule_to_start_s=10.0)
    run.start("a")
    run.fail("a")
    assert run.passes(100.0) == []
    assert run.keys == ["a/2"]


def test_all_attempts_together_have_a_limit():
    run = limited(schedule_to_close_s=20.0)
    run.start("a")
    run.fail("a")
    run.passes(5.0)
    run.start("a")
    assert run.wake_s == 20.0
    assert run.passes(15.0) == ["AttemptFailed", "StepFailed", "RunEnded"]
    assert run.step("a").error.code == "timeout_schedule_to_close"


def test_an_attempt_that_would_begin_too_late_is_not_made():
    run = limited(schedule_to_close_s=20.0)
    run.at = 15.0
    assert run.fail("a") == ["AttemptFailed", "StepFailed", "RunEnded"]
    assert run.step("a").error.code == "flaky", "the reason is the error, not the limit"


def test_what_comes_first_happens_first():
    run = limited(start_to_close_s=10.0, heartbeat_s=4.0)
    run.start("a")
    assert run.passes(50.0) == ["AttemptFailed", "StepScheduled"]
    assert run.step("a").error.code == "timeout_heartbeat"


def test_a_pause_does_not_eat_into_the_time_to_start():
    from lakeray.workflow import commands as c

    run = limited(schedule_to_start_s=10.0, schedule_to_close_s=20.0)
    run.at = 6.0
    run.send(c.PauseRun(at=run.now))
    assert run.passes(100.0) == []
    run.send(c.ResumeRun(at=run.now))
    assert run.wake_s == pytest.approx(116.0)
    run.start("a")
    assert run.wake_s == pytest.approx(120.0), "20 seconds, and 100 of the pause"


def test_a_gate_without_a_verdict_in_time_is_a_refusal():
    run = Run(workflow(g={"kind": "gate", "body": {}, "timeouts": d.TimeoutPlan(schedule_to_close_s=60.0)}))
    assert run.wake_s == 60.0
    assert run.passes(60.0) == ["StepFailed", "RunEnded"]
    assert run.step("g").error.code == "gate_expired"


def test_work_that_does_not_stop_is_given_up():
    from lakeray.workflow import commands as c

    run = limited()
    run.start("a")
    run.send(c.CancelRun(at=run.now, grace_s=30.0))
    assert run.wake_s == 30.0
    assert run.passes(30.0) == ["StepCancelled", "RunEnded"]
    assert run.state.ended == "cancelled"
