"""Conditions of gates and steps, judged over a run's facts and told as the engine keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from lakeray.gates.evaluate import LOOK_AGAIN_S, evaluate
from lakeray.gates.facts import Facts
from lakeray.gates.judgement import Judgement, JudgementUnreadable
from lakeray.gates.judgement import decode as decode_judgement
from lakeray.runtime.durable.calls import call
from lakeray.runtime.durable.facts import facts_of, table_facts
from lakeray.spec.model import Workflow
from lakeray.workflow import commands as c
from lakeray.workflow.events import Need
from lakeray.workflow.state import RunState
from lakeray.workflow.todo import JudgeCondition, JudgeGate

_VERDICTS: dict[str, Literal["true", "false", "unknown"]] = {"passed": "true", "refused": "false", "waiting": "unknown"}


class OwnFunctions:
    """Functions of whoever runs lakeray, called in this process."""

    def call(self, function: str, arguments: Mapping[str, Any], facts: Facts) -> object:
        """What the function returns."""
        return call(function, arguments=arguments, offered={"facts": facts})


def judge_gate(work: JudgeGate, state: RunState, workflow: Workflow, now: datetime) -> c.ReportVerdict:
    """A look at a gate over all that is known now."""
    condition = workflow.steps[work.step].gate
    assert condition is not None
    gate = state.steps[work.step].gate
    facts = facts_of(
        state,
        now=now,
        opened_at=work.opened_at,
        deadline=gate.deadline if gate is not None else None,
        approvals=work.approvals,
        tables=table_facts(condition, workflow, now),
    )
    earlier = judgement_in(gate.evidence) if gate is not None else None
    judged = evaluate(condition, facts, functions=OwnFunctions(), earlier=earlier)
    return c.ReportVerdict(
        at=now,
        step=work.step,
        looks=work.looks,
        verdict=_VERDICTS[judged.outcome],
        evidence=msgspec.to_builtins(judged),
        waits_for=tuple(need for each in judged.waits_for for need in _needs(each)),
        look_again_at=judged.look_again_at,
    )


def unjudged(work: JudgeGate, state: RunState, evidence: Any, now: datetime) -> c.ReportVerdict:
    """A look that failed: another follows while there is a deadline; without one nobody would ever know."""
    gate = state.steps[work.step].gate
    waits = gate is not None and gate.deadline is not None
    return c.ReportVerdict(
        at=now,
        step=work.step,
        looks=work.looks,
        verdict="unknown" if waits else "false",
        evidence=evidence,
        look_again_at=now + timedelta(seconds=LOOK_AGAIN_S) if waits else None,
    )


def _needs(need: Any) -> list[Need]:
    """One for each role that may speak: the one that was asked first, then the one that it was escalated to."""
    return [
        Need(
            role=role,
            quorum=need.quorum,
            given=len(need.given),
            four_eyes=need.four_eyes,
            expires_at=need.until,
            escalated=index > 0,
        )
        for index, role in enumerate(need.roles)
    ]


def judge_condition(work: JudgeCondition, state: RunState, workflow: Workflow, now: datetime) -> c.ReportCondition:
    """A look at what a step needs before, or ensures after it."""
    step = workflow.steps[work.step]
    condition = step.requires if work.side == "requires" else step.ensures
    assert condition is not None
    own = (work.step, work.output) if work.side == "ensures" else None
    facts = facts_of(state, now=now, opened_at=now, deadline=now, own=own, tables=table_facts(condition, workflow, now))
    judged = evaluate(condition, facts, functions=OwnFunctions())
    return c.ReportCondition(
        at=now,
        step=work.step,
        side=work.side,
        attempt=work.attempt,
        verdict=_VERDICTS[judged.outcome],
        evidence=msgspec.to_builtins(judged),
    )


def judgement_in(evidence: Any) -> Judgement | None:
    """The judgement that a run keeps as evidence; None for what is none that this version knows."""
    if evidence is None:
        return None
    try:
        return decode_judgement(msgspec.json.encode(evidence))
    except JudgementUnreadable:
        return None
