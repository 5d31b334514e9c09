"""What of a run its file wants told to others, as messages that enter the store with the very events they tell of.

CloudEvents 1.0 in structured JSON (https://github.com/cloudevents/spec). The id is the event's place in its run's
history, so that it is the same however often it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from lakeray.state import Message
from lakeray.workflow import events as e
from lakeray.workflow.state import RunState

TOPIC = "webhook"
_ENDS = {"succeeded": "run.succeeded", "failed": "run.failed", "cancelled": "run.cancelled"}


class Notification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event for one address. ``secret`` is a reference; ``event`` a CloudEvent."""

    subscriber: str
    url: str
    secret: str
    event: dict[str, Any]
    timeout_s: float = 10.0
    maximum_attempts: int = 12
    format: int = 1


def messages_of(state: RunState, events: Sequence[e.Event], before: int) -> tuple[Message, ...]:
    """What the events behind the ``before``-th of a run say to those whom its file names."""
    notify = state.definition.document.get("notify")
    if not notify:
        return ()
    found: list[Message] = []
    for sequence, event in enumerate(events, before + 1):
        for name, data in _told(event, state):
            event_id = f"{state.run_id}/{sequence}"
            told = cloud_event(
                name,
                event_id=event_id,
                tenant=state.definition.tenant,
                workflow=state.definition.workflow,
                subject=state.run_id,
                at=event.at,
                data=data,
            )
            found.extend(notifications(notify, name, told, event.at))
    return tuple(found)


def cloud_event(
    name: str,
    *,
    event_id: str,
    tenant: str,
    workflow: str,
    subject: str,
    at: datetime,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """An event as it is told."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/lakeray/{tenant}/{workflow}",
        "type": f"lakeray.{name}",
        "subject": subject,
        "time": at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {"workflow": workflow, "tenant": tenant, **data},
    }


def notifications(
    notify: Mapping[str, Mapping[str, Any]], name: str, event: dict[str, Any], due_at: datetime
) -> Iterator[Message]:
    """A message for each address of a file (as JSON values) that wants to hear of such events."""
    for subscriber, said in notify.items():
        wanted = said.get("on") or ("run.failed", "run.waiting", "expect.missed")
        if name in wanted:
            notification = Notification(
                subscriber=subscriber,
                url=said["url"],
                secret=said["secret"],
                event=event,
                timeout_s=float(said.get("timeout", 10.0)),
                maximum_attempts=int(said.get("maximum_attempts", 12)),
            )
            message_id = f"{event['id']}/{subscriber}"
            yield Message(message_id=message_id, topic=TOPIC, due_at=due_at, data=msgspec.json.encode(notification))


def _told(event: e.Event, state: RunState) -> Iterator[tuple[str, dict[str, Any]]]:
    run = {"run_id": state.run_id}
    if isinstance(event, e.RunAccepted):
        yield "run.started", {**run, "trigger": event.trigger, "principal": event.principal}
    elif isinstance(event, e.GateJudged) and event.waits_for:
        needs = [{"roles": list(need.roles), "quorum": need.quorum} for need in event.waits_for]
        yield "run.waiting", {**run, "step": event.step, "waits_for": needs}
    elif isinstance(event, e.StepDeadLettered):
        yield "step.dead_lettered", {**run, "step": event.step, "error": _failure(event.error)}
    elif isinstance(event, e.RunEnded | e.RunTerminated):
        ended = event.state if isinstance(event, e.RunEnded) else "terminated"
        failed = {name: _failure(step.error) for name, step in state.steps.items() if step.error is not None}
        yield _ENDS.get(ended, "run.cancelled"), {**run, "state": ended, "failed_steps": failed}


def _failure(error: e.Failure) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "hint": error.hint}
