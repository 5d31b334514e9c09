"""Which results a fork of a run takes over: those that do not depend on the step from which it begins anew."""

from __future__ import annotations

from lakeray.workflow.definition import Definition, downstream
from lakeray.workflow.events import ForkedFrom, Kept
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState, output_of


def fork(state: RunState, step: str, definition: Definition | None = None) -> ForkedFrom:
    """What AcceptRun of the new run says as ``forked_from``; ``definition`` is the new one, the run's own when None.

    A step is kept if it succeeded in the run, is of the same kind in the definition, and all before it are kept. What
    was kept is never compensated by the fork. Raises Refused when the definition has no such step.
    """
    plans = (definition or state.definition).steps
    if step not in plans:
        raise Refused(f"the workflow has no step {step!r}", hint=f"it has: {', '.join(plans)}")
    again = downstream(plans, step)
    kept: dict[str, Kept] = {}
    for name, plan in plans.items():
        before = state.steps.get(name)
        if before is None or before.status != "succeeded" or name in again:
            continue
        if state.plan(name).kind == plan.kind and all(earlier in kept for earlier in plan.after):
            kept[name] = Kept(output=output_of(before))
    return ForkedFrom(run_id=state.run_id, step=step, kept=kept)
