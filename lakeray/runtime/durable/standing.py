"""How a run stands, as the report and the command line show it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from datetime import datetime

from lakeray.importer.recording.summary import ImportSummary
from lakeray.runtime.durable.chronicle import Chronicle
from lakeray.runtime.durable.judge import judgement_in
from lakeray.runtime.durable.outcome import import_in
from lakeray.runtime.summary import (
    ConditionSummary,
    ErrorSummary,
    MaintainSummary,
    NeedSummary,
    RunSummary,
    State,
    StepSummary,
    UndoSummary,
)
from lakeray.workflow.events import Failure
from lakeray.workflow.state import RunState, Status, StepState
from lakeray.workflow.todo import todo

_STEP_STATES: dict[Status, State] = {
    "pending": "pending",
    "scheduled": "running",
    "running": "running",
    "verifying": "running",
    "mapping": "running",
    "waiting": "waiting",
    "succeeded": "succeeded",
    "compensated": "succeeded",
    "failed": "failed",
    "dead_lettered": "failed",
    "skipped": "skipped",
    "cancelled": "cancelled",
}
_RUN_STATES: dict[str, State] = {"waiting": "waiting", "paused": "waiting", "terminated": "cancelled"}
_ENDS = ("succeeded", "failed", "cancelled")


def waits_for_people(state: RunState, now: datetime, child: Callable[[str], RunState | None]) -> bool:
    """Whether nothing goes on and nothing will, unless a person says something: to it, or to a child of it."""
    if state.ended is not None:
        return False
    if state.paused_at is not None:
        return not any(step.status == "running" for step in state.steps.values())
    if state.phase != "waiting" or todo(state, now):
        return False
    return all(_asks(step, now, child) for step in state.steps.values() if step.status == "waiting" or step.child)


def _asks(step: StepState, now: datetime, child: Callable[[str], RunState | None]) -> bool:
    if step.child is not None:
        state = child(step.child)
        return state is not None and waits_for_people(state, now, child)
    return step.gate is not None and bool(step.gate.waits_for)


def needs_of(state: RunState) -> list[NeedSummary]:
    """The people that the run waits for, gate by gate."""
    if state.ended is not None:
        return []
    return [
        NeedSummary(
            step=name,
            roles=list(need.roles),
            quorum=need.quorum,
            given=list(need.given),
            missing=need.missing,
            comment_required=need.comment_required,
            until=need.until,
        )
        for name, step in state.steps.items()
        if step.status == "waiting" and step.gate is not None
        for need in step.gate.waits_for
    ]


def summary_of(
    state: RunState,
    chronicle: Chronicle,
    *,
    now: datetime,
    imports: Mapping[str, ImportSummary],
    notes: list[str],
    security: list[str],
    left: bool = False,
) -> RunSummary:
    """The run so far. ``imports`` are those that this process did; ``left``: it was stopped here and can go on."""
    steps = [_step(state, name, chronicle, imports.get(name), now) for name in state.steps]
    undos = [undo_error_of(step.undo_error, step=name) for name, step in state.steps.items() if step.undo_error]
    told = [
        f"step {step}: {said}" if step else said
        for step, said in chronicle.notes
        if step not in imports or not said.startswith("attempt")
    ]
    return RunSummary(
        run_id=state.run_id,
        workflow=state.definition.workflow,
        tenant=state.definition.tenant,
        state=_run_state(state, left=left),
        started_at=state.accepted_at,
        duration_s=((state.ended_at or now) - state.accepted_at).total_seconds(),
        steps=steps,
        errors=[*(step.error for step in steps if step.error is not None), *undos],
        notes=[*notes, *told, *_tolerated(state)],
        tolerated=list(state.tolerated),
        security=security,
        needs=needs_of(state),
        environment={"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"},
    )


def _run_state(state: RunState, *, left: bool) -> State:
    if state.ended is not None:
        return _RUN_STATES.get(state.ended, state.ended)  # type: ignore[arg-type]
    if left:
        return "cancelled"
    return _RUN_STATES.get(state.phase, "running")


def _step(
    state: RunState, name: str, chronicle: Chronicle, imported: ImportSummary | None, now: datetime
) -> StepSummary:
    step, plan = state.steps[name], state.plan(name)
    began, ended = chronicle.began.get(name), chronicle.ended.get(name)
    imported = imported or import_in(step.output)
    failed = step.status in ("failed", "dead_lettered", "cancelled")
    duration_s = ((ended or now) - began).total_seconds() if began else 0.0
    maintained = plan.kind == "maintain" and step.output is not None
    return StepSummary(
        name=name,
        kind=plan.kind,
        state=_STEP_STATES[step.status],
        attempts=max(1, step.tries.attempt) if began or step.tries.attempt else 0,
        after=list(plan.after),
        started_at=imported.started_at if imported else began,
        ended_at=ended if step.over else None,
        spent_s=chronicle.timeline.seconds(name, now),
        duration_s=imported.duration_s if imported else duration_s,
        imported=imported,
        maintained=MaintainSummary.model_validate(step.output) if maintained else None,
        said=_said(step),
        conditions=_conditions(step),
        undone=_undone(step, chronicle.undone.get(name)),
        error=error_of(step.error, step=name) if step.error is not None and failed else None,
    )


def _said(step: StepState) -> list[str]:
    """What a gate's conditions came to, a sentence each."""
    judged = judgement_in(step.gate.evidence) if step.gate is not None else None
    return [item.said for item in judged.evidence] if judged is not None else []


def _conditions(step: StepState) -> list[ConditionSummary]:
    judged = judgement_in(step.gate.evidence) if step.gate is not None else None
    return [
        ConditionSummary(
            path=item.path,
            kind=item.kind,
            verdict=item.verdict.value,
            said=item.said,
            at=item.at,
            values=item.values,
            policy_revision=item.policy_revision,
        )
        for item in (judged.evidence if judged is not None else ())
    ]


def _undone(step: StepState, said: str | None) -> UndoSummary | None:
    if step.undo_error is not None:
        return UndoSummary(state="failed", attempts=step.undo_last, said=step.undo_error.message)
    if step.undo is not None:
        return UndoSummary(state="undoing", attempts=step.undo.attempt)
    return (
        UndoSummary(state="undone", attempts=step.undo_last, said=said or "") if step.status == "compensated" else None
    )


def _tolerated(state: RunState) -> list[str]:
    """A run that ended with tolerated failures says so."""
    if not state.tolerated:
        return []
    return [f"tolerated failures, as their on_failure allows: {', '.join(state.tolerated)}"]


def undo_error_of(failure: Failure, *, step: str) -> ErrorSummary:
    """What could not be undone, and how to try again."""
    return ErrorSummary(
        step=step,
        code="not_undone",
        message=f"what step {step} did could not be undone: {failure.message}",
        hint="undo it by hand, or see `lakeray deadletters list`" + (f"; {failure.hint}" if failure.hint else ""),
        uri=failure.uri,
    )


def error_of(failure: Failure, *, step: str | None) -> ErrorSummary:
    """A failure of the run's history as the report shows it."""
    return ErrorSummary(
        step=step,
        code=failure.code,
        message=failure.message,
        hint=failure.hint,
        uri=failure.uri,
        retryable=failure.retryable,
    )
