"""How a gate's verdicts and people's approvals move its step; the condition itself is judged outside."""

from __future__ import annotations

from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import GateState, RunState
from lakeray.workflow.turn import Turn


def judged(turn: Turn, command: c.ReportVerdict) -> None:
    """True opens the gate, false ends its step, unknown waits; a verdict over fewer facts than there are is late."""
    step = turn.state.steps[command.step]
    if turn.state.ended is not None or step.status != "waiting" or step.gate is None:
        return
    if command.looks != step.gate.looks or step.gate.judged == command.looks:
        return
    before = step.gate.waits_for
    turn.say(
        e.GateJudged(
            at=turn.at,
            step=command.step,
            verdict=command.verdict,
            looks=command.looks,
            evidence=command.evidence,
            waits_for=command.waits_for,
            look_again_at=command.look_again_at,
        )
    )
    asked = {need.role for need in before if need.escalated}
    for need in command.waits_for:
        if need.escalated and need.role not in asked:
            turn.say(e.GateEscalated(at=turn.at, step=command.step, role=need.role))
    if command.verdict == "true":
        output = {"verdict": "true", "approvals": [given.principal for given in step.gate.approvals]}
        turn.say(e.StepSucceeded(at=turn.at, step=command.step, attempt=1, output=output))
    elif command.verdict == "false":
        refuse(turn, command.step, "gate_refused", f"gate {command.step} was refused")


def refuse(turn: Turn, name: str, code: str, message: str) -> None:
    """The gate's step fails, as its condition is false or nobody knows in time."""
    hint = f"`lakeray runs show {turn.state.run_id}` has the evidence"
    turn.say(
        e.StepFailed(at=turn.at, step=name, error=e.Failure(code=code, message=message, hint=hint, retryable=False))
    )


def approval(turn: Turn, command: c.GiveApproval) -> None:
    """Record what a person says; who may say it is looked at here and once more by the condition."""
    state = turn.state
    gate = _open_gate(state, command.step)
    if any(given.principal == command.principal for given in gate.approvals):
        raise Refused(f"{command.principal} has answered at gate {command.step} already", hint="somebody else has to")
    needs = [need for need in gate.waits_for if need.role in command.roles]
    if gate.waits_for and not needs:
        roles = ", ".join(sorted({need.role for need in gate.waits_for}))
        raise Refused(f"{command.principal} may not answer at gate {command.step}", hint=f"it waits for: {roles}")
    if needs and all(need.four_eyes for need in needs) and command.principal == state.principal:
        raise Refused(
            f"{command.principal} started run {state.run_id} and may not approve it",
            hint="the gate asks for four eyes: somebody else has to",
        )
    turn.say(
        e.ApprovalGiven(
            at=turn.at,
            step=command.step,
            principal=command.principal,
            roles=command.roles,
            approve=command.approve,
            comment=command.comment,
        )
    )


def _open_gate(state: RunState, name: str) -> GateState:
    step = state.steps.get(name)
    waiting = [each for each, found in state.steps.items() if found.status == "waiting" and found.gate is not None]
    if step is None or step.status != "waiting" or step.gate is None or state.ended is not None:
        listed = ", ".join(waiting) if waiting and state.ended is None else "none"
        raise Refused(f"run {state.run_id} does not stand at a gate {name!r}", hint=f"open gates: {listed}")
    return step.gate
