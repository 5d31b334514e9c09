"""A map works on its items in chunks, some at a time, an event for each; only chunks that failed are done again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lakeray.workflow import commands as c
from lakeray.workflow import definition as d
from lakeray.workflow import events as e
from lakeray.workflow import todo as t
from tests.unit.workflow.engine_run import NO_WAIT, Run, workflow


def mapped(over: Any, *, retry: d.RetryPlan = NO_WAIT, timeouts: d.TimeoutPlan | None = None, **body: Any) -> Run:
    body = {"over": over, "python": {"function": "m:f"}, "concurrency": 2, **body}
    return Run(workflow(m={"kind": "map", "body": body, "retry": retry, "timeouts": timeouts or d.TimeoutPlan()}))


def test_the_postcondition_of_a_map_looks_at_all_outputs_and_fails_it_for_good():
    body = {"over": [1, 2], "python": {"function": "m:f"}}
    run = Run(workflow(m={"kind": "map", "body": body, "ensures": {"python": "m:g"}}))
    run.ok("m", [10], chunk=0)
    assert run.ok("m", [20], chunk=1) == ["MapChunkDone", "StepReturned"]
    work = run.todo[0]
    assert isinstance(work, t.JudgeCondition)
    assert work.output == [10, 20]
    no = c.ReportCondition(at=run.now, step="m", side="ensures", attempt=1, verdict="false")
    assert run.send(no) == ["ConditionJudged", "AttemptFailed", "StepFailed", "RunEnded"]


def chunks(run: Run) -> list[int]:
    return [work.chunk for work in run.todo if isinstance(work, t.RunChunk | t.StartChild)]


def test_items_are_worked_on_in_chunks_so_many_at_a_time():
    run = mapped(list("abcde"), chunk=2)
    assert run.first == ["RunAccepted", "StepScheduled", "MapPlanned"]
    assert [(work.chunk, work.items, work.first, work.count) for work in run.todo] == [
        (0, ["a", "b"], 0, 2),
        (1, ["c", "d"], 2, 2),
    ]
    assert run.ok("m", ["A", "B"], chunk=0) == ["MapChunkDone"]
    assert chunks(run) == [1, 2]
    run.ok("m", ["E"], chunk=2)
    assert run.ok("m", ["C", "D"], chunk=1) == ["MapChunkDone", "StepSucceeded", "RunEnded"]
    assert run.state.outputs == {"m": list("ABCDE")}


def test_ten_thousand_items_take_a_thousand_events():
    run = mapped(list(range(10_000)), concurrency=1000)
    assert len(run.todo) == 1000
    assert {work.count for work in run.todo} == {10}


def test_a_map_over_nothing_is_over():
    run = mapped([])
    assert run.first == ["RunAccepted", "StepScheduled", "MapPlanned", "StepSucceeded", "RunEnded"]
    assert run.state.outputs == {"m": []}


def test_items_may_come_from_an_expression_and_lie_elsewhere():
    run = mapped("steps.list", chunk=4)
    assert isinstance(run.todo[0], t.PlanMap)
    items = c.ReportItems(at=run.now, step="m", items_uri="s3://b/items", total=10)
    assert run.send(items) == ["MapPlanned"]
    assert run.send(items) == []
    assert [(work.items, work.items_uri, work.first, work.count) for work in run.todo] == [
        (None, "s3://b/items", 0, 4),
        (None, "s3://b/items", 4, 4),
    ]


def test_an_expression_that_cannot_be_evaluated_is_a_failed_attempt():
    run = mapped("steps.list")
    assert run.fail("m") == ["AttemptFailed", "StepScheduled"]


def test_a_chunk_has_attempts_of_its_own():
    run = mapped([1, 2, 3], chunk=1, retry=d.RetryPlan(maximum_attempts=2, initial_interval_s=5.0))
    assert run.fail("m", chunk=0) == ["MapChunkFailed"]
    assert (chunks(run), run.wake_s) == ([1], 5.0)
    run.at = 5.0
    assert chunks(run) == [0, 1]
    assert run.ok("m", chunk=0, attempt=1) == [], "an earlier attempt"
    assert run.ok("m", ["x"], chunk=0) == ["MapChunkDone"]
    assert run.ok("m", ["x"], chunk=0, attempt=2) == []


def test_all_chunks_get_their_turn_and_a_retry_does_only_those_that_failed():
    run = mapped([1, 2, 3], chunk=1, retry=d.RetryPlan(maximum_attempts=1))
    run.ok("m", [10], chunk=0)
    assert run.fail("m", chunk=1) == ["MapChunkFailed"]
    assert run.ok("m", [30], chunk=2) == ["MapChunkDone", "StepFailed", "RunEnded"]
    assert run.step("m").error.message.startswith("1 of 3 chunks failed, chunk 1 with: flaky")
    run.send(c.RetryRun(at=run.now))
    assert [(work.chunk, work.attempt) for work in run.todo] == [(1, 2)]
    run.ok("m", [20], chunk=1)
    assert (run.state.ended, run.state.outputs) == ("succeeded", {"m": [10, 20, 30]})


def test_a_chunk_that_kills_its_workers_is_a_dead_letter_and_others_go_on():
    run = mapped([1, 2], chunk=1, retry=d.RetryPlan(maximum_worker_deaths=2, initial_interval_s=0.0))
    run.fail("m", chunk=0, cause="worker_died")
    assert run.fail("m", chunk=0, cause="worker_died") == ["MapChunkFailed", "StepDeadLettered"]
    letter = run.of(e.StepDeadLettered)[0]
    assert (letter.chunk, letter.deaths) == (0, 2)
    assert chunks(run) == [1]


def test_timeouts_and_signs_of_life_are_a_chunks_own():
    run = mapped([1, 2], chunk=1, timeouts=d.TimeoutPlan(start_to_close_s=10.0, heartbeat_s=6.0))
    assert run.start("m", chunk=0) == ["MapChunkStarted"]
    run.at = 3.0
    run.start("m", chunk=1)
    assert run.beat("m", "half", chunk=0) == ["StepHeartbeat"]
    run.at = 8.9
    assert run.passes(0.1) == ["MapChunkFailed", "MapChunkFailed"]
    assert [(work.chunk, work.details) for work in run.todo] == [(0, "half"), (1, None)]


def test_a_chunk_can_be_put_off():
    run = mapped([1, 2, 3], chunk=1)
    later = run.now + timedelta(seconds=9)
    assert run.send(c.DeferAttempt(at=run.now, step="m", chunk=0, attempt=1, until=later)) == ["MapChunkPutOff"]
    assert (chunks(run), run.wake_s) == ([1], 9.0)


def test_a_map_may_start_a_run_for_each_item():
    run = mapped(["d1", "d2", "d3"], python=None, workflow={"file": "x.yaml"})
    assert [(work.child, work.item) for work in run.todo] == [("r.m.1.0", "d1"), ("r.m.1.1", "d2")]
    first = run.todo[0]
    run.send(c.ReportChildStarted(at=run.now, step="m", attempt=1, chunk=0, child=first.child))
    assert chunks(run) == [1]
    assert run.send(c.ReportChildEnded(at=run.now, step="m", child=first.child, state="succeeded", output=5)) == [
        "MapChunkDone"
    ]
    assert chunks(run) == [1, 2]


def test_a_cancelled_map_stops_as_a_whole_and_ends_after_the_runs_that_it_may_have_started():
    run = mapped(["d1", "d2", "d3"], python=None, workflow={"file": "x.yaml"})
    run.send(c.ReportChildStarted(at=run.now, step="m", attempt=1, chunk=0, child="r.m.1.0"))
    run.send(c.CancelRun(at=run.now))
    assert [type(work) for work in run.todo] == [t.StopAttempt]
    assert run.stopped("m") == ["StepCancelled"]
    assert [work.child for work in run.todo] == ["r.m.1.0", "r.m.1.1"]
    for child in ("r.m.1.0", "r.m.1.1"):
        run.send(c.ReportChildEnded(at=run.now, step="m", child=child, state="cancelled"))
    assert run.state.ended == "cancelled"
