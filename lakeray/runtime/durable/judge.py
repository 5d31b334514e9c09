"""Conditions of gates and steps, judged over a run's facts and told as the engine keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from lakeray.gates.evaluate import LOOK_AGAIN_S, Leaf, Look, evaluate
from lakeray.gates.facts import Facts
from lakeray.gates.functions import ImportedFunctions
from lakeray.gates.judgement import ApprovalNeed, Evidence, Judgement, JudgementUnreadable
from lakeray.gates.judgement import decode as decode_judgement
from lakeray.runtime.durable.facts import facts_of, table_facts
from lakeray.runtime.durable.permits import asked_of
from lakeray.spec.gates import Condition
from lakeray.spec.model import Workflow
from lakeray.workflow import commands as c
from lakeray.workflow.events import Need
from lakeray.workflow.state import RunState
from lakeray.workflow.todo import JudgeCondition, JudgeGate

_LOOKS_AT_ONCE = 8


def judge_gate(
    work: JudgeGate, state: RunState, workflow: Workflow, now: datetime, *, policy: str | None = None
) -> c.ReportVerdict:
    """A look at a gate over all that is known now, and under the ``policy`` in that file."""
    condition = workflow.steps[work.step].gate
    assert condition is not None
    facts = facts_of(
        state,
        now=now,
        opened_at=work.opened_at,
        deadline=work.deadline,
        approvals=work.approvals,
        tables=table_facts(condition, workflow, now),
    )
    judged = _judged(condition, facts, policy, judgement_in(work.evidence))
    return c.ReportVerdict(
        at=now,
        step=work.step,
        looks=work.looks,
        verdict=judged.verdict.value,
        outcome=judged.outcome,
        reason=judged.reason,
        evidence=msgspec.to_builtins(judged),
        waits_for=tuple(msgspec.convert(need, Need, from_attributes=True) for need in judged.waits_for),
        look_again_at=judged.look_again_at,
    )


def unjudged(work: JudgeGate, why: str, now: datetime) -> c.ReportVerdict:
    """A look that failed: another follows while there is a deadline; without one nobody would ever know."""
    waits = work.deadline is not None
    return c.ReportVerdict(
        at=now,
        step=work.step,
        looks=work.looks,
        verdict="unknown",
        outcome="waiting" if waits else "refused",
        reason=f"it could not be judged: {why}",
        evidence=work.evidence,
        look_again_at=now + timedelta(seconds=LOOK_AGAIN_S) if waits else None,
    )


def _judged(condition: Condition, facts: Facts, policy: str | None, earlier: Judgement | None) -> Judgement:
    principal, access = asked_of(condition, facts.started_by, policy)
    known = replace(facts, started_by=principal)
    functions = ImportedFunctions(None)
    return evaluate(condition, known, access=access, functions=functions, earlier=earlier, each=_side_by_side)


def judge_condition(
    work: JudgeCondition, state: RunState, workflow: Workflow, now: datetime, *, policy: str | None = None
) -> c.ReportCondition:
    """A look at what a step needs before, or ensures after it."""
    step = workflow.steps[work.step]
    condition = step.requires if work.side == "requires" else step.ensures
    assert condition is not None
    own = (work.step, work.output) if work.side == "ensures" else None
    facts = facts_of(state, now=now, opened_at=now, deadline=now, own=own, tables=table_facts(condition, workflow, now))
    judged = _judged(condition, facts, policy, None)
    return c.ReportCondition(
        at=now,
        step=work.step,
        side=work.side,
        attempt=work.attempt,
        verdict=judged.verdict.value,
        evidence=msgspec.to_builtins(judged),
    )


def _side_by_side(look: Look, leaves: Iterable[Leaf]) -> Iterable[tuple[Evidence, ApprovalNeed | None]]:
    """Looks at conditions at the same time, as one may wait long for a function of the user."""
    listed = list(leaves)
    if len(listed) == 1:
        return [look(listed[0])]
    with ThreadPoolExecutor(min(_LOOKS_AT_ONCE, len(listed))) as pool:
        return list(pool.map(look, listed))


def judgement_in(evidence: Any) -> Judgement | None:
    """The judgement that a run keeps as evidence; None for what is none that this version knows."""
    if evidence is None:
        return None
    try:
        return decode_judgement(msgspec.json.encode(evidence))
    except JudgementUnreadable:
        return None
