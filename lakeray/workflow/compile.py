"""A workflow file becomes the definition that its runs keep: resolved, ordered, with every default written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lakeray.errors import SpecError
from lakeray.spec.model import Workflow
from lakeray.spec.policies import Retry, Timeouts
from lakeray.spec.steps import Step
from lakeray.workflow.definition import BreakerPlan, Definition, QueuePlan, RetryPlan, StepPlan, TimeoutPlan

MOST_LEVELS = 8
"""Workflows inside workflows inside workflows; a file that runs itself is refused by it."""

ReadChild = Callable[[Workflow, str], Workflow]
"""The workflow behind a file name that stands in another workflow."""


def compile_definition(workflow: Workflow, *, child: ReadChild | None = None, level: int = 1) -> Definition:
    """What a run of the workflow keeps.

    With ``child`` the workflows that steps of kind ``workflow`` and maps name are read now, so that a run keeps these
    too; without it their files are read when the step begins. Raises SpecError for files that run each other.
    """
    if level > MOST_LEVELS:
        raise SpecError(
            f"workflow {workflow.workflow} lies more than {MOST_LEVELS} levels deep in others",
            hint="a workflow file that runs itself, through others even, would never end",
        )
    dependents: dict[str, list[str]] = {name: [] for name in workflow.steps}
    for name, step in workflow.steps.items():
        for before in step.after:
            dependents[before].append(name)
    steps: dict[str, StepPlan] = {}
    for name in workflow.ordered():
        step = workflow.steps[name]
        file = _child_file(step)
        inner = compile_definition(child(workflow, file), child=child, level=level + 1) if child and file else None
        steps[name] = _plan(name, step, tuple(dependents[name]), inner)
    return Definition(
        workflow=workflow.workflow,
        tenant=workflow.tenant,
        steps=steps,
        document=workflow.model_dump(mode="json", by_alias=True, exclude_unset=True),
        file=workflow.file,
    )


def _child_file(step: Step) -> str | None:
    if step.workflow is not None:
        return step.workflow.file
    return step.map.workflow.file if step.map is not None and step.map.workflow is not None else None


def _plan(name: str, step: Step, dependents: tuple[str, ...], child: Definition | None) -> StepPlan:
    queue, breaker = step.queue, step.breaker
    return StepPlan(
        name=name,
        kind=step.kind,
        body=_plain(step.chosen),
        after=tuple(step.after),
        dependents=dependents,
        requires=_plain(step.requires),
        ensures=_plain(step.ensures),
        retry=_retry(step.retry),
        timeouts=_timeouts(step.timeouts),
        on_failure=step.on_failure,
        compensate=step.compensate,
        compensate_retry=_retry(step.compensate_retry),
        queue=QueuePlan(**queue.model_dump()) if queue is not None else None,
        breaker=BreakerPlan(
            dependency=breaker.dependency,
            failures=breaker.failures,
            within_s=breaker.within,
            open_for_s=breaker.open_for,
        )
        if breaker is not None
        else None,
        resources=dict(step.resources),
        child=child,
    )


def _plain(value: Any) -> Any:
    """A part of the file as JSON values, with the keys of the file."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json", by_alias=True, exclude_none=True) if hasattr(value, "model_dump") else value


def _retry(retry: Retry) -> RetryPlan:
    maximum = retry.maximum_interval
    return RetryPlan(
        maximum_attempts=retry.maximum_attempts,
        initial_interval_s=retry.initial_interval,
        backoff_coefficient=retry.backoff_coefficient,
        maximum_interval_s=100 * retry.initial_interval if maximum is None else maximum,
        non_retryable_error_types=tuple(retry.non_retryable_error_types),
        maximum_worker_deaths=retry.maximum_worker_deaths,
        jitter=retry.jitter,
    )


def _timeouts(timeouts: Timeouts | None) -> TimeoutPlan:
    if timeouts is None:
        return TimeoutPlan()
    return TimeoutPlan(
        schedule_to_start_s=timeouts.schedule_to_start,
        start_to_close_s=timeouts.start_to_close,
        schedule_to_close_s=timeouts.schedule_to_close,
        heartbeat_s=timeouts.heartbeat,
    )
