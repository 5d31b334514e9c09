"""A gate waits for its verdict and holds nothing; approvals are facts of the run; evidence stays as it was."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow import todo as t
from lakeray.workflow.refusal import Refused
from tests.unit.workflow.engine_run import Run, workflow

BOSS = e.Need(path="approval", roles=("boss",), excluded=("ann",), four_eyes=True)


@pytest.fixture
def run():
    return Run(workflow(g={"kind": "gate", "body": {"approval": {"role": "boss"}}}, b={"after": ("g",)}))


def judge(run: Run, outcome: e.Outcome, **said: Any) -> list[str]:
    work = run.todo[0]
    assert isinstance(work, t.JudgeGate)
    verdict: e.Verdict = {"passed": "true", "refused": "false", "waiting": "unknown"}[outcome]
    return run.send(c.ReportVerdict(at=run.now, step="g", looks=work.looks, verdict=verdict, outcome=outcome, **said))


def approve(run: Run, who: str = "bob", **said: Any) -> list[str]:
    return run.send(c.GiveApproval(at=run.now, step="g", principal=who, **{"roles": ("boss",), **said}))


def test_a_gate_passes_when_its_condition_is_true(run):
    assert run.first == ["RunAccepted", "GateOpened"]
    assert judge(run, "passed", evidence={"rate": 0.99}) == ["GateJudged", "StepSucceeded", "StepScheduled"]
    assert run.step("g").gate.evidence == {"rate": 0.99}


def test_a_gate_that_is_refused_fails_its_step_with_the_reason(run):
    assert judge(run, "refused", reason="rate is 0.5") == ["GateJudged", "StepFailed", "StepSkipped", "RunEnded"]
    assert "rate is 0.5" in run.step("g").error.message


def test_a_gate_that_waits_is_judged_again_only_when_there_is_something_new(run):
    assert judge(run, "waiting", waits_for=(BOSS,)) == ["GateJudged"]
    assert (run.todo, run.wake_s, run.state.phase) == ([], None, "waiting")
    assert approve(run) == ["ApprovalGiven"]
    work = run.todo[0]
    assert [given.principal for given in work.approvals] == ["bob"]
    assert judge(run, "passed") == ["GateJudged", "StepSucceeded", "StepScheduled"]
    assert run.step("g").output == {"verdict": "true", "approvals": ["bob"]}


def test_a_verdict_over_fewer_facts_than_there_are_is_not_taken(run):
    late = c.ReportVerdict(at=run.now, step="g", looks=1, verdict="unknown", outcome="waiting")
    approve(run)
    assert run.send(late) == []
    assert run.todo[0].looks == 2


@pytest.mark.parametrize(
    ("who", "said", "why"),
    [
        ("ann", {}, "four_eyes"),
        ("bob", {"roles": ("clerk",)}, "waits for role boss"),
        ("bob", {"condition": "any[3].approval"}, "no such approval"),
        ("eve", {"comment": " ", "condition": "noted"}, "comment is needed"),
    ],
)
def test_a_word_that_could_not_count_is_refused_with_the_reason(run, who, said, why):
    noted = e.Need(path="noted", roles=("boss",), comment_required=True)
    judge(run, "waiting", waits_for=(BOSS,) if "noted" not in said.values() else (BOSS, noted))
    with pytest.raises(Refused, match=why):
        approve(run, who, **said)


def test_nobody_answers_twice(run):
    judge(run, "waiting", waits_for=(BOSS,))
    approve(run)
    with pytest.raises(Refused, match="already"):
        approve(run, approve=False)


def test_an_answer_at_a_closed_gate_is_refused_with_the_open_ones(run):
    with pytest.raises(Refused, match="'b'") as refused:
        run.send(c.GiveApproval(at=run.now, step="b", principal="bob"))
    assert refused.value.hint == "open gates: g"
    judge(run, "passed")
    with pytest.raises(Refused):
        approve(run)


def test_silence_is_looked_at_when_it_may_change_something(run):
    until = run.now + timedelta(seconds=60)
    judge(run, "waiting", waits_for=(e.Need(path="approval", roles=("boss",), until=until),))
    assert run.wake_s == 60.0
    assert run.passes(60.0) == ["GateDue"]
    assert run.keys[0].endswith("gate-2")
    more = e.Need(path="approval", roles=("boss", "owner"), escalated=True, until=until + timedelta(seconds=60))
    assert judge(run, "waiting", waits_for=(more,)) == ["GateJudged", "GateEscalated"]
    assert run.of(e.GateEscalated)[0].roles == ("boss", "owner")
    run.passes(60.0)
    assert judge(run, "waiting", waits_for=(more,)) == ["GateJudged"], "said once"


def test_a_gate_holds_nothing_while_it_waits(run):
    judge(run, "waiting", waits_for=(BOSS,))
    assert run.todo == []
    run.send(c.CancelRun(at=run.now))
    assert (run.statuses["g"], run.state.ended) == ("cancelled", "cancelled")
