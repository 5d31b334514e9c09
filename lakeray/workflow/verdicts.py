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
    turn.say(
        e.GateJudged(
            at=turn.at,
            step=command.step,
            verdict=command.verdict,
            outcome=command.outcome,
            looks=command.looks,
            reason=command.reason,
            evidence=command.evidence,
            waits_for=command.waits_for,
            look_again_at=command.look_again_at,
        )
    )
    asked = {need.path for need in step.gate.waits_for if need.escalated}
    for need in command.waits_for:
        if need.escalated and need.path not in asked:
            turn.say(e.GateEscalated(at=turn.at, step=command.step, path=need.path, roles=need.roles))
    if command.outcome == "passed":
        output = {"verdict": command.verdict, "approvals": [given.principal for given in step.gate.approvals]}
        turn.say(e.StepSucceeded(at=turn.at, step=command.step, attempt=1, output=output))
    elif command.outcome == "refused":
        why = f": {command.reason}" if command.reason else ""
        refuse(turn, command.step, "gate_refused", f"gate {command.step} was refused{why}")


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
    if any((given.principal, given.condition) == (command.principal, command.condition) for given in gate.approvals):
        raise Refused(f"{command.principal} has answered at gate {command.step} already", hint="somebody else has to")
    needs = [need for need in gate.waits_for if command.condition in (None, need.path)]
    reasons = [_why_not(need, command) for need in needs]
    if gate.judged and None not in reasons:
        reason = next((reason for reason in reasons if reason), "it waits for no such approval")
        raise Refused(f"{command.principal} cannot answer at gate {command.step}: {reason}", hint=_waits(gate))
    turn.say(
        e.ApprovalGiven(
            at=turn.at,
            step=command.step,
            principal=command.principal,
            roles=command.roles,
            approve=command.approve,
            comment=command.comment,
            condition=command.condition,
        )
    )


def _why_not(need: e.Need, command: c.GiveApproval) -> str | None:
    """Why a person's word would not count for an approval; None when it would, as far as can be told here."""
    if not set(need.roles) & set(command.roles):
        return f"it waits for role {' or '.join(need.roles)}"
    if command.principal in need.excluded:
        return "whoever started the run, or set it going again, is left out by four_eyes"
    if need.comment_required and not (command.comment or "").strip():
        return "a comment is needed"
    return None


def _waits(gate: GateState) -> str:
    roles = sorted({role for need in gate.waits_for for role in need.roles})
    return f"it waits for: {', '.join(roles)}" if roles else "it waits for no person"


def _open_gate(state: RunState, name: str) -> GateState:
    step = state.steps.get(name)
    waiting = [each for each, found in state.steps.items() if found.status == "waiting" and found.gate is not None]
    if step is None or step.status != "waiting" or step.gate is None or state.ended is not None:
        listed = ", ".join(waiting) if waiting and state.ended is None else "none"
        raise Refused(f"run {state.run_id} does not stand at a gate {name!r}", hint=f"open gates: {listed}")
    return step.gate
